// Runs a GGUF file in llama.cpp (through node-llama-cpp) and writes what it computes:
//
//   node llama_cpp_logits.mjs PACKAGES JOB.json OUT.npy
//
// PACKAGES is the folder that holds node_modules; JOB.json is an object with
//   model          path of the GGUF file
//   windows        lists of token ids, all of one length: the model sees each one in an empty context, as one batch
//   vocabulary     number of logits
//   texts          strings to tokenize (optional): special tokens that they spell out count as such, none are added
//   adapter        path of a GGUF file that holds a LoRA adapter (optional)
//   flash_attention, cache   true, false or "auto" (the default), and the type of the key/value cache (default F16)
//   ends           true: which tokens end a text (optional)
//   story          {prompt, tokens}: continue a prompt greedily (optional)
// OUT.npy receives float32 log-probabilities [windows, length, vocabulary]: the log-softmax, in double precision, of
// the raw logits after every token. stdout gets one JSON object {flash_attention, threads, texts: [[id]], ends: [id],
// story}.
//
// Fixed, because they change llama.cpp's sums: CPU only, two threads.
import {closeSync, openSync, readFileSync, writeSync} from "node:fs";
import {join} from "node:path";
import {pathToFileURL} from "node:url";

const threads = 2;

// The header of a version 1.0 .npy file of little-endian float32, padded so that data starts at a multiple of 64.
function npyHeader(shape) {
    const dict = `{'descr': '<f4', 'fortran_order': False, 'shape': (${shape.join(", ")}), }`;
    const text = dict + " ".repeat(63 - ((10 + dict.length) % 64)) + "\n";
    const head = Buffer.alloc(10);
    head.write("\x93NUMPY", 0, "latin1");
    head.writeUInt8(1, 6);
    head.writeUInt16LE(text.length, 8);
    return Buffer.concat([head, Buffer.from(text, "latin1")]);
}

// Writes all of `bytes` at the file's position: one write may take less than it is given.
function writeAll(file, bytes) {
    for (let done = 0; done < bytes.length;)
        done += writeSync(file, bytes, done, bytes.length - done);
}

// row[i] := logit of token i minus log Σ exp(logits)
function logSoftmaxInto(row, logits) {
    let max = -Infinity;
    for (const value of logits.values())
        max = Math.max(max, value);
    let sum = 0;
    for (const value of logits.values())
        sum += Math.exp(value - max);
    const logSum = max + Math.log(sum);
    for (const [token, value] of logits)
        row[token] = value - logSum;
}

async function logProbabilities(sequence, ids, vocabulary) {
    const table = new Float32Array(ids.length * vocabulary);
    const options = {generateNext: {logits: true, options: {temperature: 1, topK: 0, topP: 1, minP: 0}}};
    await sequence.clearHistory();
    await sequence.controlledEvaluate(ids.map((id) => [id, options]), {
        onTokenResult(position, output) {
            const logits = output.next.logits;
            if (logits.size !== vocabulary)
                throw new Error(`llama.cpp gave ${logits.size} logits where the vocabulary has ${vocabulary}`);
            logSoftmaxInto(table.subarray(position * vocabulary, (position + 1) * vocabulary), logits);
            logits.clear();  // the library keeps every result until the window ends
        }
    });
    return table;
}

async function continueGreedily(model, sequence, prompt, count) {
    await sequence.clearHistory();
    const bos = model.tokens.bos;
    const ids = [...(bos == null ? [] : [bos]), ...model.tokenize(prompt)];
    const written = [];
    for await (const id of sequence.evaluate(ids, {temperature: 0})) {
        written.push(id);
        if (written.length >= count) break;
    }
    return prompt + model.detokenize(written, false, ids);
}

async function main(packages, jobFile, outFile) {
    const entry = join(packages, "node_modules", "node-llama-cpp", "dist", "index.js");
    const {getLlama} = await import(pathToFileURL(entry));
    const job = JSON.parse(readFileSync(jobFile, "utf8"));
    const length = job.windows[0].length;

    const llama = await getLlama({gpu: false, build: "never", maxThreads: threads, progressLogs: false, logLevel: "error"});
    const model = await llama.loadModel({modelPath: job.model, gpuLayers: 0});
    const context = await model.createContext({
        contextSize: Math.max(length + 8, 256), batchSize: length, sequences: 1, flashAttention: job.flash_attention ?? "auto",
        experimentalKvCacheKeyType: job.cache ?? "F16", experimentalKvCacheValueType: job.cache ?? "F16",
        threads: {ideal: threads, min: threads}, lora: job.adapter
    });
    const sequence = context.getSequence();

    const vocabulary = job.vocabulary;
    const file = openSync(outFile, "w");
    writeAll(file, npyHeader([job.windows.length, length, vocabulary]));
    for (const ids of job.windows) {
        const table = await logProbabilities(sequence, ids, vocabulary);
        writeAll(file, new Uint8Array(table.buffer));
    }
    closeSync(file);

    const result = {
        flash_attention: context.flashAttention, threads: context.currentThreads,
        texts: (job.texts ?? []).map((text) => model.tokenize(text, true))
    };
    if (job.ends)
        result.ends = [...Array(vocabulary).keys()].filter((id) => model.isEogToken(id));
    if (job.story != null)
        result.story = await continueGreedily(model, sequence, job.story.prompt, job.story.tokens);
    process.stdout.write(JSON.stringify(result) + "\n");
    await llama.dispose();
}

await main(...process.argv.slice(2));
