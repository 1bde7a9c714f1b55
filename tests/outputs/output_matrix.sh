#!/bin/bash
# Everything that the program writes, as one list of checksums: targets x methods x models x commands. Two programs that
# give the same list write the same bytes, so this is the net under a change that must not change any.
#
#   output_matrix.sh KERF_BINARY DATA_DIR OUT_LIST [quick|full] [GROUP...]
#
# OUT_LIST gets a line "sha256  case/file" per file written, sorted; each case has besides its files stdout, stderr and
# exit. The version, times, speeds, room on the disk and absolute paths are taken out of texts first; weights are
# taken as they are. Without DATA_DIR's files the cases that need them are left out. GROUP: only these groups of cases.
#
#   KEEP_OUTPUTS=DIR   keep what was written: DIR/raw as it was, DIR/text with the texts as they were summed
#   KERF_SOURCE=DIR    the source tree (default: the one that this file lies in)
#   WORKERS=N          groups at a time (default 2)
set -u
export LC_ALL=C

if [ "${1:-}" = --group ]; then
  GROUP=$2
else
  [ $# -ge 3 ] || { sed -n '2,13s/^# \{0,1\}//p' "$0"; exit 2; }
  KERF=$(realpath "$1") DATA=$2 LIST=$3 SIZE=${4:-full}
  case $SIZE in quick | full) ;; *) echo "the size is quick or full, not $SIZE" >&2; exit 2 ;; esac
  shift 3
  [ $# -gt 0 ] && shift
  SELF=$(realpath "$0")
  SOURCE=$(realpath "${KERF_SOURCE:-$(dirname "$SELF")/../..}")
  [ -f "$SOURCE/examples/tinytales/model.safetensors" ] || { echo "no source tree at $SOURCE" >&2; exit 2; }
  export KERF SIZE SELF SOURCE
fi

# ---------------------------------------------------------------------------------------------------------------------
# Running one case: kerf with the arguments, in which OUT stands for the output folder of the case.

THREADS=1
c() {
  local name=$1 dir=out/$1
  shift
  mkdir -p "$dir"
  timeout -k 5 1800 "$KERF" -j "$THREADS" "${@//OUT/$dir/o}" >"$dir/stdout" 2>"$dir/stderr" </dev/null
  echo $? >"$dir/exit"
}
# With a variable of the environment before it.
with() {
  local set=$1
  shift
  export "${set?}"
  "$@"
  unset "${set%%=*}"
}
full() { [ "$SIZE" = full ]; }
have() { [ -e "$1" ]; }

# All that can be asked about a packed model: look NAME MODEL
look() {
  c "$1.inspect" inspect "$2"
  c "$1.inspect-json" inspect "$2" --json
}
# Of each folder of a run with several targets, or of the one.
look_all() {
  local d
  for d in out/"$1"/o/*/; do
    [ -d "$d" ] || continue
    look "$1.$(basename "$d")" "${d%/}"
  done
}
# measure NAME MODEL AGAINST TEXT: verify and eval in every arithmetic
measure() {
  local a
  for a in runtime vllm float32; do
    c "$1.verify-$a" verify "$2" --against "$3" --text "$4" --windows 2 --ctx 48 --arithmetic $a --json
    c "$1.eval-$a" eval "$2" --text "$4" --windows 2 --ctx 48 --arithmetic $a --json --logits "OUT.npy"
  done
  c "$1.verify-table" verify "$2" --against "$3" --text "$4" --windows 2 --ctx 48 --gate 'kl<0.02,top1>0.5,bytes<1MB'
}

TT=in/tinytales HELD=in/tinytales/heldout.txt CAL=in/tinytales/calibration.txt
GOLDEN=in/golden.imatrix
D=in/data
S2=$D/models/stories260K S15=$D/models/stories15M STORY=$D/text/tinystories.txt

MIXTURES="Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K_S Q2_K Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S Q5_K_M Q6_K IQ4_NL IQ4_XS
IQ3_S IQ3_M IQ3_XS IQ3_XXS IQ2_M IQ2_S IQ2_XS IQ2_XXS IQ1_M IQ1_S TQ1_0 TQ2_0 Q1_0 Q2_0 MXFP4 NVFP4 F16 BF16 F32"
TYPES="Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS IQ3_S IQ3_XXS IQ2_S IQ2_XS IQ2_XXS IQ1_M IQ1_S
TQ1_0 TQ2_0 Q1_0 Q2_0 MXFP4 NVFP4 F16 BF16 F32"

# PREFIX words... -> PREFIXword,PREFIXword with a suffix
joined() {
  local prefix=$1 suffix=$2 all="" w
  shift 2
  for w in "$@"; do all+=,$prefix$w$suffix; done
  echo "${all:1}"
}
all_gguf() { echo "$(joined llama.cpp-cpu: "" $MIXTURES),$(joined llama.cpp-cpu: -pure $TYPES)"; }
# all_vllm GROUPS...
all_vllm() {
  local all="vllm:w8a8,vllm:fp8,vllm:fp8-tensor" bits group asym
  for bits in 2 3 4 5 6 7 8; do
    for group in "$@"; do
      for asym in "" -asym; do all+=,vllm:w${bits}a16-$group$asym; done
    done
  done
  echo "$all"
}
all_gptq() {
  local all="" bits group asym v2
  for bits in 2 3 4 8; do
    for group in "$@"; do
      for asym in "" -asym; do
        for v2 in "" -v2; do all+=,transformers-gptq:w$bits-$group$asym$v2; done
      done
    done
  done
  echo "${all:1}"
}
all_awq() {
  local all="" group
  for group in "$@"; do all+=,awq:w4-$group,awq:w4-$group-sym; done
  echo "${all:1}"
}

# ---------------------------------------------------------------------------------------------------------------------
# Groups of cases. Each can run beside any other.

group_rtn_gguf() {
  c rtn.tinytales.gguf compress $TT --target "$(all_gguf)" --text $HELD --windows 1 --ctx 48 --json -o OUT
  look_all rtn.tinytales.gguf
}
group_rtn_safetensors() {
  c rtn.tinytales.vllm compress $TT --target "$(all_vllm g32 g128 channel),vllm:fp8-block" --text $HELD --windows 1 \
    --ctx 48 --json -o OUT
  c rtn.tinytales.gptq compress $TT --target "$(all_gptq g32 g128 channel)" --text $HELD --windows 1 --ctx 48 -o OUT
  c rtn.tinytales.awq compress $TT --target "$(all_awq g16 g32 g64 g128 channel)" --text $HELD --windows 1 --ctx 48 \
    --json -o OUT
  for t in vllm gptq awq; do look_all rtn.tinytales.$t; done
}
group_rtn_made() {
  c rtn.wide.gguf compress in/wide --target "$(all_gguf)" --text $HELD --windows 1 --ctx 32 --json -o OUT
  c rtn.wide.vllm compress in/wide --target "$(all_vllm g64)" --text $HELD --windows 1 --ctx 32 \
    --json -o OUT
  c rtn.deep.gguf compress in/deep --target "$(joined llama.cpp-cpu: "" ${MIXTURES/Q1_0 /})" --text $HELD --windows 1 --ctx 32 \
    --json -o OUT
  c rtn.biased.gguf compress in/biased --target llama.cpp-cpu:Q4_0,llama.cpp-cpu:Q8_0-pure --text $HELD --windows 1 \
    --ctx 32 --json -o OUT
  c rtn.biased.other compress in/biased --target "vllm:w4a16-g32,vllm:w8a8,transformers-gptq:w4-g32,awq:w4-g32" \
    --text $HELD --windows 1 --ctx 32 --json -o OUT
  local m
  for m in wide deep biased; do look made.$m in/$m; done
  for m in wide.gguf wide.vllm deep.gguf biased.gguf biased.other; do look_all rtn.$m; done
  measure rtn.wide.Q4_K_M out/rtn.wide.gguf/o/llama.cpp-cpu-Q4_K_M in/wide $HELD
  measure rtn.deep.Q5_1 out/rtn.deep.gguf/o/llama.cpp-cpu-Q5_1 in/deep $HELD
  measure rtn.biased.w8a8 out/rtn.biased.other/o/vllm-w8a8 in/biased $HELD
}
group_rtn_260k() {
  have $S2 || return
  local text=$D/text/tinystories-valid-sample.txt
  c rtn.260k.gguf compress $S2 --target "$(joined llama.cpp-cpu: "" ${MIXTURES/Q1_0 /} | sed s/,[^,]*NVFP4//)" --text $text --windows 2 --ctx 48 --json -o OUT
  c rtn.260k.vllm compress $S2 --target "vllm:w4a16-channel,vllm:w2a16-g4,vllm:w3a16-channel-asym,vllm:w8a8,vllm:fp8" \
    --text $text --windows 2 --ctx 48 --json -o OUT
  local scheme
  for scheme in $MIXTURES; do
    c rtn.260k.$scheme compress $S2 --target llama.cpp-cpu:$scheme -q -o OUT
  done
  look_all rtn.260k.gguf
  look_all rtn.260k.vllm
}
group_rtn_15m() {
  full && have $S15 || return
  c rtn.15m.gguf compress $S15 --target "$(joined llama.cpp-cpu: "" Q4_0 Q5_1 Q8_0 Q4_K_M Q2_K IQ4_NL IQ3_XXS IQ1_S \
    TQ1_0 MXFP4 F16)" --text $STORY --windows 1 --ctx 64 --json -o OUT
  c rtn.15m.vllm compress $S15 --target vllm:w4a16-g32,vllm:w3a16-g96-asym,vllm:w8a8,vllm:fp8,vllm:fp8-tensor \
    --text $STORY --windows 1 --ctx 64 --json -o OUT
  c rtn.15m.other compress $S15 --target transformers-gptq:w4-g32,transformers-gptq:w3-g32-asym-v2,awq:w4-g32 \
    --text $STORY --windows 1 --ctx 64 --json -o OUT
  local t
  for t in gguf vllm other; do look_all rtn.15m.$t; done
  measure rtn.15m.Q4_0 out/rtn.15m.gguf/o/llama.cpp-cpu-Q4_0 $S15 $STORY
  measure rtn.15m.w8a8 out/rtn.15m.vllm/o/vllm-w8a8 $S15 $STORY
}

# Verify, eval and inspect of each kind of file.
group_measure() {
  local t file all="llama.cpp-cpu:Q4_0 llama.cpp-cpu:IQ3_M vllm:w4a16-g32 vllm:w8a8 vllm:fp8 awq:w4-g128"
  full && all+=" llama.cpp-cpu:Q8_0 llama.cpp-cpu:Q4_K_M llama.cpp-cpu:TQ1_0 llama.cpp-cpu:NVFP4 llama.cpp-cpu:Q2_K
    llama.cpp-cpu:F16 vllm:w3a16-g128-asym vllm:fp8-tensor vllm:fp8-block transformers-gptq:w4-g32-asym
    transformers-gptq:w2-channel-v2"
  c measure compress $TT --target "$(joined "" "" $all)" -o OUT
  for t in $all; do
    file=out/measure/o/${t/:/-}
    measure measure.${t/:/-} "$file" $TT $HELD
  done
  file=out/measure/o/llama.cpp-cpu-Q4_0/tinytales-Q4_0.gguf
  measure measure.file $file $TT $HELD
  c measure.folder verify out/measure/o --against $TT --text $HELD --windows 3 --ctx 48 --json
  c measure.folder-table verify out/measure/o --against $TT --text $HELD --windows 3 --ctx 48 --gate 'kl<0.02'
  for t in $TT in/wide in/deep in/biased $S2; do
    have $t || continue
    c measure.eval.$(basename $t) eval $t --text $HELD --windows 2 --ctx 48 --skip-tokens 100 --logits OUT.npy
    c measure.eval-json.$(basename $t) eval $t --text $HELD --windows 2 --ctx 48 --json
    look measure.source.$(basename $t) $t
  done
  c measure.eval.whole-window eval $TT --text $HELD --windows 1 --ctx 512
  c measure.eval.many eval $file --text $HELD --windows 5 --ctx 16 --json
  for t in model.norm.weight model.embed_tokens.weight model.layers.1.mlp.down_proj.weight; do
    c measure.npy.$t inspect $TT --tensor $t --npy OUT.npy
    c measure.npy-w4.$t inspect out/measure/o/vllm-w4a16-g32 --tensor $t --npy OUT.npy
    c measure.npy-awq.$t inspect out/measure/o/awq-w4-g128 --tensor $t --npy OUT.npy
  done
  c measure.npy-gguf inspect $file --tensor blk.1.ffn_down.weight --npy OUT.npy
  c measure.npy-gguf2 inspect $file --tensor token_embd.weight --npy OUT.npy
  c measure.npy-file inspect $TT/model.safetensors --tensor model.layers.0.self_attn.q_proj.weight --npy OUT.npy
  c measure.inspect.file inspect $TT/model.safetensors
  c measure.inspect.file-json inspect $TT/model.safetensors --json
}

# Options of compress that need no calibration.
group_options() {
  c options.shards compress $TT --target llama.cpp-cpu:Q4_0 --shard-size 500KB -o OUT
  c options.shards-st compress $TT --target vllm:w4a16-g128,awq --shard-size 1MB --json -o OUT
  look options.shards "out/options.shards/o"
  look_all options.shards-st
  c options.shards-eval eval "$(ls out/options.shards/o/*00001-of* | head -1)" --text $HELD --windows 2 --ctx 48 --json
  c options.shards-verify verify out/options.shards-st/o --against $TT --text $HELD --windows 2 --ctx 48 --json
  c options.gate compress $TT --target llama.cpp-cpu:Q4_0,llama.cpp-cpu:Q2_K --text $HELD --windows 2 --ctx 48 \
    --gate 'kl<0.05,ppl_ratio<1.03,top1>0.9,bytes<90MB' -o OUT
  c options.gate-missed compress $TT --target llama.cpp-cpu:Q2_K --text $HELD --windows 2 --ctx 48 --json \
    --gate 'kl<0.0001,top1>=99%,site_error_max<0.1,bpw_body<3' -o OUT
  c options.gate-bytes compress $TT --target llama.cpp-cpu:Q2_K --gate 'bytes<1MB,bpw<9' -o OUT
  c options.strict compress $TT --target llama.cpp-cpu:Q4_K-pure --strict -o OUT
  c options.dry compress $TT --target llama.cpp-cpu:Q4_K_M,vllm:w4a16-g32 --dry-run -o OUT
  c options.dry-json compress $TT --target llama.cpp-cpu:Q4_K_M,vllm:w4a16-g32 --dry-run --json -o OUT
  c options.dry-calib compress $TT --target llama.cpp-cpu:Q4_K_M --calib $CAL --dry-run --json -o OUT
  c options.dry-gptq compress $TT --target vllm:w4a16-g32,awq --method gptq --asymmetric on --calib $CAL --dry-run -o OUT
  c options.dry-memory compress $TT --target vllm:w4a16-g32 --calib $CAL --memory 200MB --dry-run --json -o OUT
  c options.imatrix compress $TT --target "$(joined llama.cpp-cpu: "" Q4_0 Q5_0 Q4_K_M IQ2_XXS IQ3_XXS IQ1_S Q3_K_M)" \
    --imatrix $GOLDEN --text $HELD --windows 2 --ctx 48 --json -o OUT
  c options.imatrix-vllm compress $TT --target vllm:w4a16-g32,vllm:w8a8,awq,transformers-gptq:w3-g64 --imatrix $GOLDEN \
    --text $HELD --windows 2 --ctx 48 -o OUT
  c options.again compress $TT --target llama.cpp-cpu:Q8_0 -o OUT
  c options.again-refused compress $TT --target llama.cpp-cpu:Q8_0 -o out/options.again/o
  c options.again-force compress $TT --target llama.cpp-cpu:Q4_1 --force -o out/options.again/o
  c options.again-resume compress $TT --target llama.cpp-cpu:Q4_1 --resume -o out/options.again/o
  c options.safetensors-file compress $TT/model.safetensors --target llama.cpp-cpu:Q4_0 -o OUT
  THREADS=2
  c options.two-threads compress $TT --target llama.cpp-cpu:Q4_K_M,vllm:w4a16-g32,awq --text $HELD --windows 3 --ctx 64 \
    --json -o OUT
  THREADS=3
  c options.three-threads compress $TT --target llama.cpp-cpu:IQ3_M,vllm:w8a8,vllm:fp8-block,transformers-gptq \
    --text $HELD --windows 3 --ctx 64 --json -o OUT
  THREADS=1
}

group_recipes() {
  c recipe.all compress $TT --recipe in/recipes/all.yaml -o OUT --json
  c recipe.overridden compress $TT --recipe in/recipes/all.yaml --target vllm:w8a16-g32 --windows 1 --gate 'kl<1' -o OUT
  c recipe.gguf compress $TT --recipe in/recipes/gguf.yaml -o OUT --json
  c recipe.gptq compress $TT --recipe in/recipes/gptq.yaml -o OUT --json
  c recipe.calibrated compress $TT --recipe in/recipes/calibrated.yaml -o OUT --json
  c recipe.calibrated-gguf compress $TT --recipe in/recipes/calibrated_gguf.yaml -o OUT --json
  c recipe.json-report compress $TT --recipe in/recipes/all.yaml --strict --shard-size 2MB -o OUT
  local r
  for r in all gguf gptq calibrated calibrated-gguf; do
    look_all recipe.$r
    look recipe.$r out/recipe.$r/o
  done
}

# Methods with a calibration text.
calibrated() {
  local name=$1 model=$2 text=$3 targets=$4 method=$5
  shift 5
  c $name compress $model --target "$targets" --method "$method" --calib $text --calib-windows 8 --calib-ctx 64 "$@" \
    --text $text --windows 2 --ctx 48 --skip-tokens 2000 --json -o OUT
  look_all $name
}
group_calibrated_vllm() {
  local m a all="vllm:w4a16-g32,vllm:w3a16-g128-asym,vllm:w8a8,vllm:fp8,vllm:fp8-tensor,vllm:fp8-block"
  full || all=vllm:w4a16-g32,vllm:w8a8
  for m in rtn gptq awq gptq+awq auto; do
    for a in on off; do
      [ $m = rtn ] && [ $a = on ] && continue
      full || [ $m = auto ] || [ $a = off ] || continue
      calibrated calib.vllm.$m-$a $TT $CAL $all $m --asymmetric $a
    done
  done
}
group_calibrated_gguf_gptq() { calibrated_gguf gptq awq; }
group_calibrated_gguf_awq() { calibrated_gguf gptq+awq; }
group_calibrated_gguf_auto() { calibrated_gguf auto; }
# calibrated_gguf METHODS...
calibrated_gguf() {
  local m a all="$(joined llama.cpp-cpu: "" Q4_0 Q4_1-pure Q4_K_M Q2_K Q6_K Q3_K_M IQ4_XS IQ3_S IQ2_XS IQ1_M TQ1_0 \
    Q1_0 Q2_0 NVFP4 MXFP4 Q8_0 Q5_1)"
  full || all=llama.cpp-cpu:Q4_0,llama.cpp-cpu:Q3_K_M
  for m in "$@"; do
    for a in on off; do
      full || [ $m = auto ] || [ $a = off ] || continue
      full && [ $m = awq ] && [ $a = on ] && continue
      calibrated calib.gguf.$m-$a $TT $CAL $all $m --asymmetric $a
    done
  done
}
group_calibrated_other() {
  local m all=transformers-gptq:w4-g32,transformers-gptq:w3-g128-asym-v2,awq:w4-g128
  full || all=transformers-gptq:w4-g128,awq:w4-g128
  for m in gptq awq auto; do
    full || [ $m != gptq ] || continue
    calibrated calib.other.$m $TT $CAL $all $m
  done
  full && calibrated calib.other.awq-sym $TT $CAL awq:w4-g64-sym,transformers-gptq:w8-channel,transformers-gptq:w2-g64 auto
  calibrated calib.damping $TT $CAL vllm:w4a16-g64 gptq --damping 0.05 --refine 0
  full && calibrated calib.refine $TT $CAL llama.cpp-cpu:Q4_0 gptq --refine 6 --asymmetric on
  c calib.few compress $TT --target vllm:w4a16-g32 --calib $CAL --calib-windows 3 --calib-ctx 32 -o OUT
  c calib.jsonl compress $TT --target vllm:w4a16-g128 --method awq --calib in/jsonl/texts.jsonl --calib-windows 4 \
    --calib-ctx 64 --json -o OUT
  c calib.jsonl-seed compress $TT --target vllm:w4a16-g128 --method awq --calib in/jsonl/texts.jsonl --calib-windows 4 \
    --calib-ctx 64 --calib-seed 7 --json -o OUT
  c calib.memory compress $TT --target vllm:w4a16-g128 --method auto --calib $CAL --calib-windows 8 --calib-ctx 64 \
    --memory 110MB --json -o OUT
  THREADS=2
  calibrated calib.two-threads $TT $CAL llama.cpp-cpu:Q4_K_M,vllm:w4a16-g32 auto
  THREADS=1
  c calib.resume-complete compress $TT --target llama.cpp-cpu:Q4_K_M,vllm:w4a16-g32 --method auto --calib $CAL --resume \
    --calib-windows 8 --calib-ctx 64 -o out/calib.two-threads/o
}
group_calibrated_made() {
  calibrated calib.wide in/wide $HELD llama.cpp-cpu:Q4_K_M,llama.cpp-cpu:Q4_0-pure auto
  calibrated calib.wide-vllm in/wide $HELD vllm:w4a16-g64,vllm:fp8-tensor auto
  calibrated calib.biased in/biased $HELD vllm:w4a16-g32,vllm:w8a8 auto
  calibrated calib.biased-gguf in/biased $HELD llama.cpp-cpu:Q4_0 gptq+awq --asymmetric on
  have $S2 || return
  local text=$D/text/tinystories-valid-sample.txt
  calibrated calib.260k.gguf $S2 $text llama.cpp-cpu:Q4_0,llama.cpp-cpu:Q4_K_M,llama.cpp-cpu:Q8_0 auto
  calibrated calib.260k.vllm $S2 $text vllm:w4a16-channel,vllm:w3a16-g4,vllm:w8a8 auto
}
group_calibrated_15m() {
  full && have $S15 || return
  calibrated calib.15m.auto $S15 $STORY vllm:w4a16-g32 auto
  calibrated calib.15m.gptq $S15 $STORY llama.cpp-cpu:Q4_0,vllm:w8a8 gptq
}

# Sizes shared out among the matrices.
group_budget() {
  local a="--calib $CAL --calib-windows 8 --calib-ctx 64"
  c budget.bytes compress $TT --target llama.cpp-cpu --bytes 2600KB --method gptq $a --json -o OUT
  look budget.bytes out/budget.bytes/o
  c budget.dry compress $TT --target llama.cpp-cpu --bpw 5.5 --dry-run --json $a -o OUT
  c budget.too-small compress $TT --target llama.cpp-cpu --bytes 100KB $a -o OUT
  full || return
  c budget.bpw compress $TT --target llama.cpp-cpu:Q4_K_M --bpw 4.5 --method auto $a --json --text $HELD --windows 2 \
    --ctx 48 -o OUT
  c budget.rtn compress $TT --target llama.cpp-cpu --bpw 3.4 --method rtn $a --json -o OUT
  c budget.override compress $TT --target llama.cpp-cpu --bytes 2891392 --method awq --recipe in/recipes/keep.yaml $a \
    --json -o OUT
  look budget.bpw out/budget.bpw/o
  have $S2 && c budget.260k compress $S2 --target llama.cpp-cpu --bpw 6 --method gptq --json -o OUT \
    --calib $D/text/tinystories-valid-sample.txt --calib-windows 8 --calib-ctx 64
}

# Importance matrices, made and used.
group_imatrix() {
  local f=$CAL
  c imatrix.gguf imatrix $TT --calib $f --calib-windows 4 --calib-ctx 64 -o OUT.gguf
  c imatrix.dat imatrix $TT --calib $f --calib-windows 4 --calib-ctx 64 --format dat -o OUT.dat
  c imatrix.jsonl imatrix $TT --calib in/jsonl/texts.jsonl --calib-windows 2 --calib-ctx 64 --calib-seed 3 -o OUT.gguf
  c imatrix.wide imatrix in/wide --calib $f --calib-windows 2 --calib-ctx 64 -o OUT.gguf
  c imatrix.use compress $TT --target llama.cpp-cpu:Q4_0,llama.cpp-cpu:IQ2_XS,vllm:w4a16-g128 --imatrix \
    out/imatrix.gguf/o.gguf --json -o OUT
  c imatrix.use-dat compress $TT --target llama.cpp-cpu:IQ4_XS --imatrix out/imatrix.dat/o.dat -o OUT
  c imatrix.other-model compress in/wide --target llama.cpp-cpu:Q4_0 --imatrix out/imatrix.gguf/o.gguf -o OUT
  c imatrix.inspect inspect out/imatrix.gguf/o.gguf --json
  c imatrix.packed compress $TT --target llama.cpp-cpu:Q8_0 -o OUT
  c imatrix.of-packed imatrix out/imatrix.packed/o/tinytales-Q8_0.gguf --calib $f --calib-windows 2 --calib-ctx 64 \
    -o OUT.gguf
  have $S2 && c imatrix.260k imatrix $S2 --calib $D/text/tinystories-valid-sample.txt --calib-windows 4 -o OUT.gguf
  local m
  have $D/cases/imatrix_zeros && for m in all_zero good one_block_zero one_matrix_zero; do
    c imatrix.zeros.$m compress $D/cases/imatrix_zeros/model --imatrix $D/cases/imatrix_zeros/$m.gguf --json \
      --target llama.cpp-cpu:Q4_0,llama.cpp-cpu:Q5_1,llama.cpp-cpu:IQ4_NL,vllm:w4a16-channel -o OUT
  done
}

# way NAME FIRST NEXT...: compresses for FIRST and repacks from there on
way() {
  local name=$1 last=out/$1/o i=1 t
  c "$name" compress $TT --target "$2" -q -o OUT
  shift 2
  for t in "$@"; do
    c "$name.$i" repack "$last" --target "$t" -o OUT
    look "$name.$i" "out/$name.$i/o"
    last=out/$name.$i/o
    i=$((i + 1))
  done
}
group_repack() {
  way repack.a transformers-gptq:w4-g32 transformers-gptq:w4-g32-v2 awq transformers-gptq vllm
  way repack.b transformers-gptq:w4-g64-asym-v2 awq transformers-gptq:w4-g64-asym-v2 vllm transformers-gptq
  way repack.c transformers-gptq:w3-channel-asym transformers-gptq:w3-channel-asym-v2 transformers-gptq awq vllm:w3a16
  way repack.d vllm:w4a16-g32 transformers-gptq awq:w4-g32-sym vllm llama.cpp-cpu
  way repack.e vllm:w8a16-channel transformers-gptq:w8-channel vllm awq
  way repack.f awq:w4-channel transformers-gptq:w4-channel-asym-v2 awq vllm:w4a16-channel-asym
  way repack.g vllm:w5a16-g32 transformers-gptq vllm
  way repack.h vllm:w8a8 vllm transformers-gptq
  local s file
  for s in Q4_1 Q3_K_M IQ2_M TQ1_0 NVFP4 F16; do
    full || [ $s = Q3_K_M ] || continue
    c repack.$s compress $TT --target llama.cpp-cpu:$s -q -o OUT
    c repack.$s.several repack out/repack.$s/o/tinytales-$s.gguf --target llama.cpp-cpu --shard-size 1MB --json -o OUT
    file=$(ls out/repack.$s.several/o/*-00001-of-*.gguf | head -1)
    look repack.$s.several "$file"
    c repack.$s.one repack "$file" --target llama.cpp-cpu:$s -o OUT
    c repack.$s.other repack out/repack.$s/o/tinytales-$s.gguf --target vllm -o OUT
    c repack.$s.scheme repack out/repack.$s/o/tinytales-$s.gguf --target llama.cpp-cpu:Q8_0 -o OUT
  done
  c repack.dense repack $TT --target awq -o OUT
  c repack.json repack out/repack.a/o --target awq --json --shard-size 1MB -o OUT
  c repack.not-empty repack out/repack.a/o --target awq -o out/repack.json/o
  c repack.force repack out/repack.a/o --target transformers-gptq:w4-g32-v2 --force -o out/repack.json/o
  local m=$D/cases/gptq_files/only_quantize_config
  have $m && for s in transformers-gptq transformers-gptq:w4-g32-v2 awq vllm; do c repack.case.${s/:/-} repack $m --target $s -o OUT; done
}

# Texts and chats through every tokenizer at hand.
group_tokenize() {
  local t f name texts=$(ls in/text/*)
  c tokenize.tinytales tokenize $TT --text $HELD
  c tokenize.special tokenize $TT --text in/text/odd.txt --special --json
  full || texts="in/text/odd.txt in/text/vectors.txt in/text/multilingual.txt"
  for t in $TT $S2 $D/tokenizers/* $D/vectors/tokenizer/*.gguf; do
    have "$t" || continue
    full || case $t in *gemma3 | *llama3.2 | *qwen3) continue ;; esac
    name=$(basename "$t")
    for f in $texts; do
      have "$f" || continue
      c "tokenize.$name.$(basename "$f")" tokenize "$t" --text "$f" --json
    done
    c "tokenize.$name.special" tokenize "$t" --text in/text/odd.txt --special
    for f in in/jsonl/*.jsonl; do
      c "chat.$name.$(basename "$f")" tokenize "$t" --chat "$f" --json
      c "chat.$name.$(basename "$f").prompt" tokenize "$t" --chat "$f" --generation-prompt
    done
  done
  for t in $D/cases/*/* $D/cases/ggufs/*.gguf; do
    have "$t/tokenizer.json" || [ "${t%.gguf}" != "$t" ] || continue
    c "tokenize.case.$(basename "$t")" tokenize "$t" --text in/text/odd.txt --json --special
  done
}
group_chats() {
  local t f
  for t in in/templates/*; do
    for f in in/jsonl/chats.jsonl in/jsonl/tools.jsonl; do
      c "template.$(basename "$t").$(basename "$f")" tokenize "$t" --chat "$f" --json
    done
    c "template.$(basename "$t").prompt" tokenize "$t" --chat in/jsonl/chats.jsonl --json --generation-prompt
  done
  have $D/cases/chats || return
  for f in messages.jsonl array.json; do
    c "chat.case.$f" tokenize $D/cases/chats/chatml --chat $D/cases/chats/data/$f --json
    c "chat.calib.$f" compress $D/cases/chats/chatml --target llama.cpp-cpu:Q4_0,vllm:w4a16-channel --method gptq \
      --calib $D/cases/chats/data/$f --calib-windows 8 --calib-ctx 32 --json -o OUT
  done
}

# Small models of the kind that people report.
group_cases() {
  local m name
  for m in $D/cases/*/* $D/cases/imatrix_zeros/model $D/cases/ggufs/ollama/*; do
    have "$m" || continue
    case $m in */chats/data) continue ;; esac
    name=$(basename "$(dirname "$m")").$(basename "$m")
    look case.$name "$m"
    c case.$name.eval eval "$m" --text in/text/short.txt --windows 2 --ctx 24 --json --logits OUT.npy
    c case.$name.compress compress "$m" --target llama.cpp-cpu:Q4_0,llama.cpp-cpu:Q8_0,vllm:w4a16-channel,vllm:w8a8 \
      --text in/text/short.txt --windows 2 --ctx 24 --json -o OUT
    c case.$name.calibrated compress "$m" --target llama.cpp-cpu:Q4_0,vllm:w4a16-channel \
      --calib in/text/short.txt --calib-windows 8 --calib-ctx 16 --json -o OUT
    look_all case.$name.compress
  done
}

# Instruction sets.
group_isa() {
  local isa some=Q4_0,llama.cpp-cpu:Q4_K_M,llama.cpp-cpu:IQ3_M,llama.cpp-cpu:Q8_0
  full && some=$(all_gguf) && some=${some#llama.cpp-cpu:}
  for isa in avx2 ref; do
    with KERF_ISA=$isa c isa.$isa.gguf compress $TT --target llama.cpp-cpu:$some --text $HELD --windows 1 --ctx 32 \
      --json -o OUT
    with KERF_ISA=$isa c isa.$isa.vllm compress $TT --target vllm:w4a16-g32,vllm:w8a8,vllm:fp8,vllm:fp8-block,awq \
      --text $HELD --windows 1 --ctx 32 --json -o OUT
    with KERF_ISA=$isa c isa.$isa.calibrated compress $S2 --target llama.cpp-cpu:Q4_0,vllm:w4a16-channel \
      --calib $CAL --calib-windows 8 --calib-ctx 32 --json -o OUT
    with KERF_ISA=$isa c isa.$isa.eval eval $TT --text $HELD --windows 1 --ctx 48 --json --logits OUT.npy
    for a in runtime vllm float32; do
      with KERF_ISA=$isa c isa.$isa.verify-$a verify out/isa.$isa.vllm/o --against $TT --text $HELD --windows 1 --ctx 32 \
        --arithmetic $a --json
    done
    with KERF_ISA=$isa c isa.$isa.version --version
    with KERF_ISA=$isa c isa.$isa.targets targets --json
  done
  with KERF_ISA=mmx c isa.mmx targets
}

# What the program says of itself, and its refusals.
group_help() {
  local s
  c help --help
  c version --version
  c targets targets
  c targets-json targets --json
  for s in compress imatrix verify eval bench inspect targets repack tokenize; do c help.$s $s --help; done
  c bench bench $TT --ctx 16 --seconds 0
  c bench.json bench in/deep --ctx 16 --seconds 0 --json --arithmetic float32
  c hub inspect some/model
  c hub.revision compress some/model@0123abc --target llama.cpp-cpu:Q8_0 -o OUT
  c hub.missing eval some/model@none --text in/text/short.txt
  for s in 100 4400; do
    (ulimit -f $s && c full-disk.$s compress $TT --target llama.cpp-cpu:Q8_0 -o OUT)
  done 2>/dev/null
  c quiet -q compress $TT --target llama.cpp-cpu:Q4_0,vllm:w3a16 -o OUT
}
group_errors() {
  local n=0 line
  while IFS= read -r line; do
    [ -n "$line" ] || continue
    n=$((n + 1))
    eval "set -- $line"
    c "$(printf 'error.%03d' $n)" "$@"
    echo "$line" >"$(printf 'out/error.%03d/arguments' $n)"
  done <in/errors
  for r in in/recipes/bad/*; do c error.recipe.$(basename $r .yaml) compress $TT --recipe $r -o OUT; done
  for r in in/broken/*; do
    c error.broken.$(basename $r).inspect inspect $r
    c error.broken.$(basename $r).compress compress $r --target llama.cpp-cpu:Q4_0 -o OUT
    c error.broken.$(basename $r).eval eval $r --text in/text/short.txt --windows 1 --ctx 16
  done
}

# A calibrated run that is killed and goes on: the files that come of it (what it says depends on the moment).
group_resume() {
  local t name dir pid i
  for t in vllm:w4a16-g32 llama.cpp-cpu:Q4_0; do
    full || [ $t = vllm:w4a16-g32 ] || continue
    name=resume.${t/:/-} dir=out/resume.${t/:/-}
    mkdir -p $dir
    local job="-q -j 1 compress $TT --target $t --method auto --calib $CAL --calib-windows 8 --calib-ctx 128 --save-every 0
      -o $dir/o"
    "$KERF" $job >/dev/null 2>&1 &
    pid=$!
    for ((i = 0; i < 3000; ++i)); do
      compgen -G "$dir/o/.kerf-resume/*/hidden/model.safetensors" >/dev/null && break
      kill -0 $pid 2>/dev/null || break
      sleep 0.005
    done
    { kill -KILL $pid && wait $pid; } 2>/dev/null
    [ -e $dir/o/kerf-report.json ] || "$KERF" $job --resume >$dir/stdout 2>/dev/null
    echo $? >$dir/exit
    rm -f $dir/stdout
  done
}

# Longest first, so that workers end together.
GROUPS_OF_CASES="calibrated_gguf_auto calibrated_gguf_awq calibrated_gguf_gptq calibrated_vllm isa rtn_15m rtn_gguf budget calibrated_other calibrated_15m
rtn_safetensors calibrated_made rtn_made measure rtn_260k repack options tokenize recipes imatrix cases chats resume errors help"

if [ -n "${GROUP:-}" ]; then
  cd "$WORK" || exit 1
  start=$(date +%s)
  "group_$GROUP"
  echo "$GROUP: $(($(date +%s) - start)) s" >&2
  exit 0
fi

# ---------------------------------------------------------------------------------------------------------------------
# Inputs, in a folder of their own so that paths are the same in every run.

WORK=$(mktemp -d)
export WORK
trap 'rm -rf "$WORK"' EXIT
mkdir -p "$WORK/in" "$WORK/out"
ln -s "$SOURCE/examples/tinytales" "$WORK/in/tinytales"
# A hub cache with one model in it.
export HF_HOME=$WORK/in/hub
unset HF_HUB_CACHE HF_TOKEN
HUB=$HF_HOME/hub/models--some--model
mkdir -p "$HUB/refs" "$HUB/snapshots"
echo 0123abc >"$HUB/refs/main"
ln -s "$SOURCE/examples/tinytales" "$HUB/snapshots/0123abc"
ln -s "$SOURCE/tests/pipeline/goldens/tinytales.imatrix" "$WORK/in/golden.imatrix"
[ -d "$DATA" ] && ln -s "$(realpath "$DATA")" "$WORK/in/data"

cat >"$WORK/errors.in" <<'LIST'
frobnicate
''
compress
compress in/tinytales
compress in/tinytales --target llama.cpp-cpu
compress /no/such/model --target llama.cpp-cpu:Q4_0 -o OUT
compress no-such/hub-model --target llama.cpp-cpu:Q4_0 -o OUT
compress in/tinytales --target nowhere -o OUT
compress in/tinytales --target nowhere:w4 -o OUT
compress in/tinytales --target llama.cpp-cpu:Q9_9 -o OUT
compress in/tinytales --target llama.cpp-cpu:Q4_0-pure-pure -o OUT
compress in/tinytales --target vllm:w3 -o OUT
compress in/tinytales --target vllm:w9a16-g128 -o OUT
compress in/tinytales --target vllm:w4a16-g96 -o OUT
compress in/tinytales --target vllm:w4a16-g0 -o OUT
compress in/tinytales --target transformers-gptq:w5-g128 -o OUT
compress in/tinytales --target transformers-gptq:w4-g48 -o OUT
compress in/tinytales --target awq:w3-g128 -o OUT
compress in/tinytales --target awq:w4-g48 -o OUT
compress in/tinytales --target vllm,vllm:w4a16-g128 -o OUT
compress in/tinytales --target llama.cpp-cpu --method magic -o OUT
compress in/tinytales --target llama.cpp-cpu --method gptq -o OUT
compress in/tinytales --target llama.cpp-cpu --method auto -o OUT
compress in/tinytales --target llama.cpp-cpu --asymmetric on -o OUT
compress in/tinytales --target llama.cpp-cpu --asymmetric maybe -o OUT
compress in/tinytales --target vllm --method gptq --asymmetric on --calib in/text/short.txt --calib-windows 7 --calib-ctx 16 -o OUT
compress in/tinytales --target llama.cpp-cpu --calib /no/such/text -o OUT
compress in/tinytales --target llama.cpp-cpu --calib in/text/tiny.txt -o OUT
compress in/tinytales --target llama.cpp-cpu --calib in/text/empty.txt -o OUT
compress in/tinytales --target llama.cpp-cpu --calib in/text/short.txt --calib-ctx 1 -o OUT
compress in/tinytales --target llama.cpp-cpu --calib in/text/short.txt --calib-ctx 100000 -o OUT
compress in/tinytales --target llama.cpp-cpu --calib in/text/short.txt --calib-windows 0 -o OUT
compress in/tinytales --target llama.cpp-cpu --calib in/jsonl/chats.jsonl -o OUT
compress in/tinytales --target llama.cpp-cpu --calib in/jsonl/wrong.jsonl -o OUT
compress in/tinytales --target llama.cpp-cpu --calib in/text/short.txt --imatrix in/golden.imatrix -o OUT
compress in/tinytales --target llama.cpp-cpu --imatrix in/text/short.txt -o OUT
compress in/tinytales --target llama.cpp-cpu --imatrix /no/such/file -o OUT
compress in/tinytales --target llama.cpp-cpu --bytes 2MB -o OUT
compress in/tinytales --target vllm --bytes 2MB --calib in/text/short.txt -o OUT
compress in/tinytales --target llama.cpp-cpu,vllm --bytes 2MB --calib in/text/short.txt -o OUT
compress in/tinytales --target llama.cpp-cpu --bytes 2MB --bpw 4 --calib in/text/short.txt -o OUT
compress in/tinytales --target llama.cpp-cpu --bytes 2MB --shard-size 1MB --calib in/text/short.txt -o OUT
compress in/tinytales --target llama.cpp-cpu --bytes -5 -o OUT
compress in/tinytales --target llama.cpp-cpu --bytes 0MB -o OUT
compress in/tinytales --target llama.cpp-cpu --memory 0 -o OUT
compress in/tinytales --target vllm --calib in/text/short.txt --calib-windows 8 --calib-ctx 16 --memory 1MB -o OUT
compress in/tinytales --target llama.cpp-cpu --shard-size 0 -o OUT
compress in/tinytales --target llama.cpp-cpu --bpw nan -o OUT
compress in/tinytales --target llama.cpp-cpu --damping 2 -o OUT
compress in/tinytales --target llama.cpp-cpu --refine 101 -o OUT
compress in/tinytales --target llama.cpp-cpu -j 100000 -o OUT
compress in/tinytales --target llama.cpp-cpu -j -3 -o OUT
compress in/tinytales --target llama.cpp-cpu --gate 'kl<<1' -o OUT
compress in/tinytales --target llama.cpp-cpu --gate 'kl<0.1' -o OUT
compress in/tinytales --target llama.cpp-cpu --gate 'speed>3' --text in/text/short.txt -o OUT
compress in/tinytales --target llama.cpp-cpu --gate 'bytes<3XB' -o OUT
compress in/tinytales --target llama.cpp-cpu --gate 'bytes' -o OUT
compress in/tinytales --target llama.cpp-cpu --text /no/such/text -o OUT
compress in/tinytales --target llama.cpp-cpu --text in/text/latin1.bin -o OUT
compress in/tinytales --target llama.cpp-cpu --text in/text/utf16.bin -o OUT
compress in/tinytales --target llama.cpp-cpu --text in/text/short.txt --ctx 1 -o OUT
compress in/tinytales --target llama.cpp-cpu --text in/text/short.txt --ctx 100000 -o OUT
compress in/tinytales --target llama.cpp-cpu --text in/text/short.txt --windows -1 -o OUT
compress in/tinytales --target llama.cpp-cpu --text in/text/short.txt --skip-tokens 1000000 -o OUT
compress in/tinytales --target llama.cpp-cpu -o in/text/short.txt
compress in/tinytales --target llama.cpp-cpu -o in/text/short.txt/x
compress in/tinytales --target llama.cpp-cpu --resume -o in/text
compress in/tinytales --target llama.cpp-cpu -o in/text
compress in/tinytales --target llama.cpp-cpu -o in/tinytales
compress in/copy --target vllm:w4a16-g32 --force -o in/copy
compress in/tinytales --recipe /no/such/recipe -o OUT
compress in/tinytales --target llama.cpp-cpu:Q2_K-pure --strict -o OUT
compress in/data/models/stories260K --target llama.cpp-cpu:Q4_K_M --strict -o OUT
compress in/data/models/stories260K --target vllm:w4a16-g32 -o OUT
compress in/data/models/stories260K --target vllm:fp8-block -o OUT
compress in/data/models/stories260K --target transformers-gptq:w4-g32 -o OUT
compress in/data/models/stories260K --target awq:w4-g32 -o OUT
verify in/tinytales --against in/tinytales --text in/text/short.txt
verify in/tinytales --against in/tinytales
verify /no/such --against in/tinytales --text in/text/short.txt
verify in/text --against in/tinytales --text in/text/short.txt
verify in/tinytales --text in/text/short.txt
eval in/tinytales
eval in/tinytales --text in/text/tiny.txt
eval in/tinytales --text in/text/short.txt --arithmetic double
eval in/tinytales --text in/text/short.txt --ctx 5 --windows 1 --logits /no/such/folder/x.npy
eval in/text/short.txt --text in/text/short.txt
eval in/text --text in/text/short.txt
bench in/tinytales --ctx 1000000
bench in/tinytales --seconds -1
inspect /no/such/model
inspect in/text/short.txt
inspect in/text
inspect in/tinytales --tensor nothing --npy OUT.npy
inspect in/tinytales --tensor model.norm.weight
inspect in/tinytales --npy OUT.npy
imatrix in/tinytales -o OUT
imatrix in/tinytales --calib in/text/short.txt --format xml -o OUT
imatrix in/tinytales --calib in/text/tiny.txt -o OUT
repack in/tinytales --target awq
repack in/tinytales --target nowhere -o OUT
repack /no/such --target awq -o OUT
tokenize in/tinytales
tokenize in/tinytales --text in/text/short.txt --chat in/jsonl/chats.jsonl
tokenize in/tinytales --text in/text/latin1.bin
tokenize in/tinytales --text in/text/utf16.bin
tokenize in/tinytales --chat in/jsonl/chats.jsonl
tokenize in/tinytales --chat in/jsonl/wrong.jsonl
tokenize in/tinytales --chat in/jsonl/array.json
tokenize in/text --text in/text/short.txt
targets --nonsense
LIST

python3 - "$WORK/in" "$WORK/in/data" <<'PYTHON' || exit 1
import json, os, pathlib, random, shutil, statistics, struct, sys

here, data = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
tales = here / "tinytales"


def write(name, content):
    path = here / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def cut(path, size):
    return path.read_bytes()[:size].decode("utf-8", "ignore")


# Random checkpoints: normal weights of 16 random bits each, the same on every machine.
def bf16(x):
    return (struct.unpack("<I", struct.pack("<f", x))[0] + 0x8000 >> 16 & 0xFFFF).to_bytes(2, "little")


normal = statistics.NormalDist()
quantiles = [round(normal.inv_cdf((i + 0.5) / 4096), 6) for i in range(4096)]
makers = {"BF16": bf16, "F16": lambda x: struct.pack("<e", x), "F32": lambda x: struct.pack("<f", x)}


def checkpoint(name, dtype, hidden, ffn, layers, heads, kv, dim, tied, shards=1, tokenizer=tales, **more):
    rng = random.Random(name)
    vocab = len(json.loads((tokenizer / "tokenizer.json").read_text())["model"]["vocab"])
    shapes = {"model.embed_tokens.weight": [vocab, hidden], "model.norm.weight": [hidden]}
    if not tied:
        shapes["lm_head.weight"] = [vocab, hidden]
    for i in range(layers):
        at = f"model.layers.{i}."
        linear = {"self_attn.q_proj": [heads * dim, hidden], "self_attn.k_proj": [kv * dim, hidden],
                  "self_attn.v_proj": [kv * dim, hidden], "self_attn.o_proj": [hidden, heads * dim],
                  "mlp.gate_proj": [ffn, hidden], "mlp.up_proj": [ffn, hidden], "mlp.down_proj": [hidden, ffn]}
        for module, shape in linear.items():
            shapes[f"{at}{module}.weight"] = shape
            if more.get("attention_bias" if "attn" in module else "mlp_bias"):
                shapes[f"{at}{module}.bias"] = shape[:1]
        shapes[at + "input_layernorm.weight"] = shapes[at + "post_attention_layernorm.weight"] = [hidden]
    make = makers[dtype]
    weights = [make(0.05 * q) for q in quantiles]
    norms = [make(1 + 0.3 * q) for q in quantiles]
    files, index = [{} for _ in range(shards)], {}
    for i, (tensor, shape) in enumerate(shapes.items()):
        n = 1
        for d in shape:
            n *= d
        raw = rng.getrandbits(16 * n).to_bytes(2 * n, "little")
        table = norms if "norm" in tensor else weights
        values = b"".join([table[w & 4095] for (w,) in struct.iter_unpack("<H", raw)])
        files[i * shards // len(shapes)][tensor] = (shape, values)
    for i, tensors in enumerate(files):
        file = "model.safetensors" if shards == 1 else f"model-{i + 1:05}-of-{shards:05}.safetensors"
        header, at = {"__metadata__": {"format": "pt"}}, 0
        for tensor, (shape, values) in tensors.items():
            header[tensor] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(values)]}
            at += len(values)
            index[tensor] = file
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        write(f"{name}/{file}", struct.pack("<Q", len(text)) + text + b"".join(v for _, v in tensors.values()))
    if shards > 1:
        write(f"{name}/model.safetensors.index.json", json.dumps({"metadata": {}, "weight_map": index}))
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden,
              "intermediate_size": ffn, "num_hidden_layers": layers, "num_attention_heads": heads,
              "num_key_value_heads": kv, "head_dim": dim, "vocab_size": vocab, "max_position_embeddings": 512,
              "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": tied,
              "bos_token_id": 0, "eos_token_id": 0,
              "torch_dtype": {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}[dtype], **more}
    write(f"{name}/config.json", json.dumps(config, indent=1))
    for f in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(tokenizer / f, here / name / f)


checkpoint("wide", "F16", 256, 512, 2, 8, 2, 32, False,
           rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                         "original_max_position_embeddings": 64})
checkpoint("deep", "BF16", 64, 128, 16, 4, 4, 32, True, shards=3, rope_scaling={"type": "linear", "factor": 2.0})
checkpoint("biased", "F32", 128, 192, 2, 4, 1, 32, True, attention_bias=True, mlp_bias=True)

# Texts
held = cut(tales / "heldout.txt", 20000)
odd = ("Hello world!  Two  spaces,\ttabs\n\n\nand\r\nlines. don't I'LL we've 1234567 3.14 \u00e9\u00e8 e\u0301 "
       "\u4f60\u597d\u3001\u4e16\u754c \u0627\u0644\u0633\u0644\u0627\u0645 \u05e9\u05dc\u05d5\u05dd \ud55c\uad6d\uc5b4 "
       "\U0001F600\U0001F468\u200d\U0001F469\u200d\U0001F467 \u2581x \ufeff\u00a0\u3000 <s> </s> <|endoftext|> "
       "<|im_start|>user\n<unk> [INST] {\"a\": 1} __init__ $%^&*()  \u0000 \ufffd   trailing   ")
write("text/odd.txt", odd)
write("text/short.txt", held[:6000])
write("text/tiny.txt", "Hi")
write("text/empty.txt", "")
write("text/latin1.bin", b"abc \xe9 def")
write("text/utf16.bin", "Hello".encode("utf-16"))
for name, source, size in (("multilingual", "text/calibration/multilingual.utf8", 60000),
                           ("code", "text/calibration/code.utf8", 200000),
                           ("technical", "text/calibration/technical.utf8", 100000),
                           ("wiki", "text/wikitext2-valid.txt", 200000)):
    if (data / source).exists():
        write(f"text/{name}.txt", cut(data / source, size))
if (data / "vectors").exists():
    write("text/vectors.txt", b"\n".join(f.read_bytes() for f in sorted((data / "vectors/tokenizer").glob("*.inp"))))

# Documents
paragraphs = [p for p in held.split("\n") if len(p) > 20]
write("jsonl/texts.jsonl", "".join(json.dumps({"text": p}) + "\n" for p in paragraphs[:60]))
chats = [[("user", "Hello")], [("system", "Be kind."), ("user", "Tell me a story."), ("assistant", " Once upon a time. \n")],
         [("user", "a"), ("assistant", "b"), ("user", "\u00e9 <b>&\"'")], [("user", "x"), ("assistant", "")]]
write("jsonl/chats.jsonl", "".join(
    json.dumps({"messages": [{"role": r, "content": c} for r, c in chat]}) + "\n" for chat in chats)
    + json.dumps({"text": "Plain text."}) + "\n")
tool = {"type": "function", "function": {"name": "weather", "description": "Says the weather", "parameters": {
    "type": "object", "properties": {"city": {"type": "string", "description": "where"}}, "required": ["city"]}}}
write("jsonl/tools.jsonl", json.dumps({"tools": [tool], "messages": [
    {"role": "user", "content": "How is it in Bern?"},
    {"role": "assistant", "content": "", "tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "weather", "arguments": {"city": "Bern"}}}]},
    {"role": "tool", "content": "sunny", "tool_call_id": "1"},
    {"role": "assistant", "content": "<think>\nsun\n</think>\n\nIt is sunny."}]}) + "\n")
write("jsonl/wrong.jsonl", '{"text": "a"}\n{"x": 1}\n')
write("jsonl/array.json", json.dumps([{"text": "a b c"}], indent=1))

# Templates
templates = {
    "loops": "{{ bos_token }}{% for m in messages %}{% if loop.first %}[{{ loop.length }}]{% endif %}{{ loop.index }}/"
             "{{ loop.index0 }}/{{ loop.revindex }}<{{ m['role'] | upper }}>{{ m.content | trim }}{% if not loop.last %}"
             "\n{% else %}{{ eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}",
    "filters": "{% set ns = namespace(n=0, t='') %}{% for m in messages %}{% set ns.n = ns.n + m.content | length %}"
               "{% set ns.t = ns.t ~ m.role[0] %}{{ m.content | replace('a', 'A') | lower | title | capitalize }}|"
               "{{ m.content.split(' ') | join('_') }}|{{ m.content[:3] }}|{{ m.content[-2:] }}|{{ m.content[::-1] }}|"
               "{{ m.content.startswith('T') }}|{{ m.content.strip().rstrip('.').upper() }}|{{ m | tojson }}|"
               "{{ m.items() | list }}{% endfor %}{{ ns.n }}{{ ns.t }}{{ [3, 1, 2] | sort | first }}"
               "{{ messages | map(attribute='role') | unique | list }}{{ messages | selectattr('role', 'equalto', "
               "'user') | list | length }}{{ messages | rejectattr('role', 'equalto', 'user') | list | length }}"
               "{{ range(5) | sum }}{{ [1, 2.5, none, true] }}{{ 7 // 2 }}{{ -7 % 3 }}{{ 2 ** 10 }}{{ 7 / 2 }}"
               "{{ 'a' if messages else 'b' }}{{ x is defined }}{{ x | default('d') }}{{ 'x' in 'xyz' }}"
               "{{ {'a': {'b': [1, 2]}} | tojson(indent=2) }}{{ 'a<b' | e }}{{ ' q ' | trim | indent(2) }}"
               "{{ 1.0 }} {{ 1e20 }} {{ 3 | string }} {{ '12' | int + 1 }}",
    "macros": "{%- macro turn(role, text='none') -%}<{{ role }}>{{ text }}{%- endmacro -%}{%- for m in messages if "
              "m.role != 'system' -%}{{ turn(m.role, text=m.content) }}{%- else -%}nobody{%- endfor %}\n"
              "{%- set all %}{% for m in messages %}{{ m.role }} {% endfor %}{% endset -%}{{ all | trim }}"
              "{# a comment #}{% raw %}{{ raw }}{% endraw %}{% filter upper %}loud{% endfilter %}"
              "{% if messages[0].role == 'system' and messages | length > 1 or false %}S{% elif not messages %}N{% endif %}"
              "{{ strftime_now('%Y-%m-%d') }}{{ dict(a=1) }}{{ (1, 2) }}{{ messages[-1].content is string }}",
    "tools": "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}{{ m.role }}:{{ m.content }}"
             "{% for t in m.tool_calls or [] %}{{ t.function.name }}({{ t.function.arguments | tojson }}){% endfor %}\n"
             "{% endfor %}",
    "raises": "{% if messages[0].role != 'system' %}{{ raise_exception('the first must be a system message') }}{% endif %}ok",
    "unknown_tag": "\n{% include 'x' %}", "unknown_filter": "{{ messages | shuffle }}", "unclosed": "{% for m in messages %}",
    "syntax": "{{ messages[ }}", "undefined": "{{ nothing.there }}", "type": "{{ 1 + 'a' }}", "zero": "{{ 1 // 0 }}",
    "call": "{{ messages() }}", "endless": "{% for i in range(100000000) %}x{% endfor %}",
}
for name, text in templates.items():
    write(f"templates/{name}/chat_template.jinja", text)
    for f in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(tales / f, here / "templates" / name / f)

# Recipes
write("recipes/all.yaml", """# everything
targets: [vllm:w4a16-g128, llama.cpp-cpu:Q4_0]
method: rtn
eval: {text: in/tinytales/heldout.txt, windows: 2, ctx: 32, skip_tokens: 7}
gate: kl<0.05,top1>0.9
strict: false
shard_size: 4000000000
overrides:
  - {sites: "model.layers.*.mlp.down_proj", method: rtn}
  - sites: [attn_v, 're:layers\\.[0-3]\\.']
    method: rtn
""")
write("recipes/gguf.yaml", """targets: llama.cpp-cpu:Q3_K_S
eval: {text: in/tinytales/heldout.txt, windows: 2, ctx: 32}
overrides:
  - {sites: ["model.layers.1.mlp.*", attn_v], scheme: Q6_K}
  - {sites: 're:layers\\.[23]\\.self_attn\\.(q|k)', scheme: Q4_K_M}
  - {sites: token_embd, scheme: Q8_0}
""")
write("recipes/gptq.yaml", """targets: transformers-gptq:w4-g128
overrides:
  - {sites: "*.mlp.down_proj", scheme: w8-g32}
""")
write("recipes/calibrated.yaml", """targets: vllm:w4a16-g64
method: auto
gptq: {damping: 0.02, refine: 1}
asymmetric: on
calib: {text: in/tinytales/calibration.txt, windows: 8, ctx: 48, seed: 5}
eval: {text: in/tinytales/heldout.txt, windows: 2, ctx: 32}
overrides:
  - {sites: ffn_down, method: rtn}
  - {sites: ffn_down, scheme: w8a16-g32}
  - {sites: attn_output, method: awq}
""")
write("recipes/calibrated_gguf.yaml", """targets: [llama.cpp-cpu:Q4_K_S]
method: gptq
calib: {text: in/tinytales/calibration.txt, windows: 8, ctx: 48}
overrides:
  - {sites: [token_embd], method: rtn}
  - {sites: "model.layers.0.*", method: gptq+awq}
  - {sites: ffn_gate, scheme: IQ4_XS}
""")
write("recipes/keep.yaml", "overrides:\n  - {sites: attn_v, scheme: Q8_0}\n")
bad = ["targets: vllm\nmetod: rtn", "\n- a", "just text", "targets:\n  - vllm\n  - nowhere", "targets: vllm:w3", "targets: []",
       "targets: {a: b}", "method: magic", "strict: maybe", "shard_size: 0", "gptq: {refine: 101}", "asymmetric: 1",
       "method: [rtn]", "calib:\n  windows: many", "calib:\n  windows: '8'", "calib: {windows: 0}", "calib: {windows: 1.5}",
       "calib: {ctx: 1}", "calib: {seed: -1}", "calib: {ctx: 99999999999999999999}", "calib: {window: 1}",
       "calib: text.txt", "eval: {seed: 1}", "gate: kl<<1", "method: rtn\nmethod: rtn", "overrides: x",
       "overrides:\n  - {method: rtn}", "overrides:\n  - {sites: x}", "overrides:\n  - {sites: x, method: magic}",
       "overrides:\n  - {sites: 're:(', method: rtn}", "targets: vllm\noverrides:\n  - {sites: x, scheme: w99}",
       "overrides:\n  - {sites: x, scheme: w99, bits: 3}", "a: [1", "a: b: c", "\t- x", "a: &a [x]\nb: *a", "--- a\n--- b",
       "targets: vllm\noverrides:\n  - {sites: nothing, method: rtn}",
       "targets: vllm:w4a16-g32\noverrides:\n  - {sites: attn_v, scheme: Q4_0}",
       "targets: vllm:w4a16-g32\ncalib: {text: in/text/short.txt, windows: 8, ctx: 16}\noverrides:\n"
       "  - {sites: attn_v, method: awq}\n  - {sites: attn_q, method: gptq}",
       "targets: vllm:fp8-tensor\noverrides:\n  - {sites: attn_v, scheme: w8a8}",
       "targets: awq\noverrides:\n  - {sites: attn_v, scheme: w4-g32}",
       "targets: awq\noverrides:\n  - {sites: attn_v, method: gptq}"]
for i, text in enumerate(bad):
    write(f"recipes/bad/{i:02}.yaml", text)

# Broken models: the tiny one, each time with one thing wrong.
shutil.copytree(here / "biased", here / "copy")
config = json.loads((here / "biased/config.json").read_text())
broken = {
    "no_config": None, "not_json": "{", "list": "[]", "other_type": {"model_type": "mamba", "architectures": ["Mamba"]},
    "no_hidden": {"hidden_size": None}, "text_hidden": {"hidden_size": "a"}, "vocab": {"vocab_size": 999},
    "layers": {"num_hidden_layers": 3}, "untied": {"tie_word_embeddings": False}, "act": {"hidden_act": "gelu"},
    "rope": {"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "kv": {"num_key_value_heads": 3},
    "quantized": {"quantization_config": {"quant_method": "bitsandbytes"}},
    "quantization_text": {"quantization_config": "gptq"}, "dtype": {"torch_dtype": "int8"}, "eps": {"rms_norm_eps": -1},
    "big": {"hidden_size": 1 << 62}, "ffn": {"intermediate_size": 256},
}
for name, change in broken.items():
    shutil.copytree(here / "biased", here / "broken" / name)
    path = here / "broken" / name / "config.json"
    if change is None:
        path.unlink()
    elif isinstance(change, str):
        path.write_text(change)
    else:
        path.write_text(json.dumps({k: v for k, v in {**config, **change}.items() if v is not None}))
for name, change in {"cut": lambda b: b[:-100], "empty": lambda b: b"", "header": lambda b: b"\xff" * 8 + b[8:],
                     "nan": lambda b: b[:-8] + struct.pack("<ff", float("nan"), 1.0),
                     "inf": lambda b: b[:-8] + struct.pack("<ff", float("inf"), 1.0),
                     "json": lambda b: b[:8] + b"}" + b[9:]}.items():
    shutil.copytree(here / "biased", here / "broken" / ("weights_" + name))
    path = here / "broken" / ("weights_" + name) / "model.safetensors"
    path.write_bytes(change(path.read_bytes()))
for name, change in {"cut": lambda t: t[:-100], "empty": lambda t: "{}",
                     "model": lambda t: t.replace('"BPE"', '"WordLevel"')}.items():
    shutil.copytree(here / "biased", here / "broken" / ("tokenizer_" + name))
    path = here / "broken" / ("tokenizer_" + name) / "tokenizer.json"
    path.write_text(change(path.read_text()))
shutil.copytree(here / "biased", here / "broken/tokenizer_none")
(here / "broken/tokenizer_none/tokenizer.json").unlink()
shutil.copytree(here / "deep", here / "broken/shard_missing")
(here / "broken/shard_missing/model-00002-of-00003.safetensors").unlink()
write("broken/text.gguf", "GGUF but not really")
write("broken/version.gguf", b"GGUF" + struct.pack("<IQQ", 99, 0, 0))
write("broken/many.gguf", b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1 << 60))
write("broken/empty.gguf", b"GGUF" + struct.pack("<IQQ", 3, 0, 0))
write("broken/empty.safetensors", struct.pack("<Q", 2) + b"{}")
write("broken/folder/readme.txt", "nothing")
PYTHON
mv "$WORK/errors.in" "$WORK/in/errors"

# ---------------------------------------------------------------------------------------------------------------------
# The groups, then the sums.

[ $# -gt 0 ] || set -- $GROUPS_OF_CASES
printf '%s\n' "$@" | xargs -P "${WORKERS:-2}" -n 1 bash "$SELF" --group

python3 - "$WORK" "$SOURCE" "$LIST" "${KEEP_OUTPUTS:-}" <<'PYTHON'
import hashlib, os, pathlib, re, shutil, sys

work, source, target, keep = sys.argv[1:]
out = pathlib.Path(work, "out")
raw = (".gguf", ".safetensors", ".npy", ".dat")
data = os.path.realpath(os.path.join(work, "in", "data"))
paths = {work: "WORK", os.path.realpath(work): "WORK", source: "SOURCE", data: "DATA"}
varies = [
    (r'("kerf": )"[^"]*"', r'\1"VERSION"'), (r"(with kerf )[0-9][^, ]*", r"\1VERSION"),
    (r"^(kerf )[0-9]+\.\S+", r"\1VERSION"), (r"kerf:[0-9]+\.[0-9.]+", "kerf:VERSION"),
    (r"^(time    about ).*?( on \d+ threads).*$", r"\1N\2"), (r'("calibration": \{\s+"passes": )[-+.e\d]+', r"\1N"),
    (r"^(disk    .* of ).* free", r"\1N free"), (r'("free": )\d+', r"\1N"), (r'("(?:seconds|statistics|choosing|evaluation)": )[-+.e\d]+', r"\1N"),
    (r"(has room for )\d+", r"\1N"), (r"\d+(\.\d+)?( tokens per second)", r"N\2"),
    (r'(_tokens_per_second": )[-+.e\d]+', r"\1N"),
    (r"((?:float32|the runtime's)[ |]+)[\d,.]+([ |]+)[\d,.]+(?= |$)", r"\1N\2N"),
]
varies = [(re.compile(pattern, re.M), by) for pattern, by in varies]


def plain(data):
    text = data.decode("utf-8", "surrogateescape")
    for path in sorted(paths, key=len, reverse=True):
        text = text.replace(path, paths[path])
    for pattern, by in varies:
        text = pattern.sub(by, text)
    return text.encode("utf-8", "surrogateescape")


lines = []
for folder, _, names in os.walk(out):
    for name in names:
        path = pathlib.Path(folder, name)
        case = path.relative_to(out).as_posix()
        if path.is_symlink():
            content = os.readlink(path).encode()
        else:
            content = path.read_bytes()
        if not name.endswith(raw) and name != "tokenizer.json":
            content = plain(content)
            if keep:
                copy = pathlib.Path(keep, "text", case)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(content)
        lines.append(f"{hashlib.sha256(content).hexdigest()}  {case}")
lines.sort(key=lambda line: line.split("  ", 1)[1])
pathlib.Path(target).write_text("".join(line + "\n" for line in lines))
if keep:
    for folder, _, names in os.walk(out):
        for name in names:
            path = pathlib.Path(folder, name)
            if path.stat().st_size > 200_000_000:
                path.unlink()
    shutil.rmtree(os.path.join(keep, "raw"), ignore_errors=True)
    shutil.move(out, os.path.join(keep, "raw"))
print(f"{len(lines)} files of {len({l.split('  ', 1)[1].split('/')[0] for l in lines})} cases", file=sys.stderr)
PYTHON
