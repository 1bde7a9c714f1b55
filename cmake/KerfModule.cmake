# kerf_module(PATH [COLD] [PLUGINS kind:Type ...] [PLUGIN_FOLDERS folder ...] [APART regex] [PRECOMPILE header ...]
#             [LINK library ...])
#   One folder, one static library made of its *.cc files: model/text becomes kerf_model_text, or kerf::model_text.
#   - A file ending in _avx2.cc or _avx512.cc is compiled for that instruction set, and only on x86-64.
#   - PLUGINS kind:Type collects the files <kind>_<name>.cc of the folder and of PLUGIN_FOLDERS below it, each of which
#     defines `const Type& <kind>_<name>()`, into a generated table `std::span<const Type* const> all_<kind>s()`
#     (searches, families), declared in the header <PATH>/<kind>.h.
#   - COLD: no loop over weights or tokens in it; compiled with -O1 where others have -O3 (half of the compiler's time).
#   - With KERF_UNITY, small files of one instruction set are compiled as one. APART names those that are not: plug-ins
#     whose local functions are called alike, and files that share a local name.
#   - PRECOMPILE, with KERF_UNITY: headers that most files of the module include and that take longer to read than they.
# kerf_module_group(NAME library ...)
#   A folder of modules, as one name to link: kerf::model.
set(KERF_FLAGS_avx2 -mavx2 -mfma -mf16c -mbmi2)
set(KERF_FLAGS_avx512 -mavx2 -mfma -mf16c -mbmi2 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mprefer-vector-width=512)

string(TOLOWER "${CMAKE_SYSTEM_PROCESSOR}" KERF_PROCESSOR)

add_library(kerf_options INTERFACE)
target_compile_features(kerf_options INTERFACE cxx_std_20)
target_include_directories(kerf_options INTERFACE $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}>)
# -ffp-contract=off: the same sums on every machine, whether or not it has fused multiply-add.
# -fno-semantic-interposition: nobody replaces kerf's functions at load time, so they may be inlined.
target_compile_options(kerf_options INTERFACE $<BUILD_INTERFACE:-ffp-contract=off -fno-semantic-interposition>)
target_link_libraries(kerf_options INTERFACE OpenMP::OpenMP_CXX Threads::Threads)

add_library(kerf_warnings INTERFACE)
# Not asked for: -Wrestrict (false positives in g++ 12), missing initializers (designated ones say what matters),
# psabi (vector types wider than the machine's registers are passed only inside one file).
target_compile_options(kerf_warnings INTERFACE -Wall -Wextra -Wconversion $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>
                       -Wno-missing-field-initializers
                       -Wno-psabi)
if(KERF_WERROR)
  target_compile_options(kerf_warnings INTERFACE -Werror)
endif()
if(KERF_SANITIZE)
  # Without SLP vectorization, in which g++ 12 crashes on instrumented vector code (grids/search/int_search_avx512.cc), and
  # without a warning that instrumented code of std::optional raises for no reason.
  add_compile_options(-fsanitize=${KERF_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all
                      $<$<CXX_COMPILER_ID:GNU>:-fno-tree-slp-vectorize> $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  add_link_options(-fsanitize=${KERF_SANITIZE})
endif()

function(kerf_isa_sources var)
  set(kept)
  foreach(file ${${var}})
    if(file MATCHES "_(avx2|avx512)\\.cc$")
      set(isa ${CMAKE_MATCH_1})
      if(NOT KERF_PROCESSOR MATCHES "x86_64|amd64")
        continue()
      endif()
      set_source_files_properties(${file} PROPERTIES COMPILE_OPTIONS "${KERF_FLAGS_${isa}}")
    endif()
    list(APPEND kept ${file})
  endforeach()
  set(${var} ${kept} PARENT_SCOPE)
endfunction()

# Replaces files of the list `var` by files that include several of them: of one instruction set, at most 40 kB or 16 in
# one. The including file's name ends as theirs do, so that it gets the same flags. Those that match `apart` stay.
function(kerf_unity_sources var apart)
  set(kept)
  set(batches)
  foreach(file ${${var}})
    get_filename_component(name ${file} NAME)
    get_source_file_property(definitions ${file} COMPILE_DEFINITIONS)
    set(isa common)
    if(name MATCHES "_(ref|avx2|avx512)\\.cc$")
      set(isa ${CMAKE_MATCH_1})
    endif()
    if(definitions OR (apart AND name MATCHES "${apart}"))
      list(APPEND kept ${file})
      continue()
    endif()
    file(SIZE ${file} size)
    if(NOT DEFINED number_${isa})
      set(number_${isa} 0)
      set(bytes_${isa} 0)
      set(count_${isa} 0)
    elseif(bytes_${isa} GREATER 0)
      math(EXPR after "${bytes_${isa}} + ${size}")
      if(after GREATER 40000 OR count_${isa} EQUAL 16)
        math(EXPR number_${isa} "${number_${isa}} + 1")
        set(bytes_${isa} 0)
        set(count_${isa} 0)
      endif()
    endif()
    math(EXPR bytes_${isa} "${bytes_${isa}} + ${size}")
    math(EXPR count_${isa} "${count_${isa}} + 1")
    set(batch ${isa}_${number_${isa}})
    list(APPEND batches ${batch})
    list(APPEND files_${batch} ${file})
  endforeach()
  list(REMOVE_DUPLICATES batches)
  foreach(batch ${batches})
    list(LENGTH files_${batch} count)
    if(count EQUAL 1)
      list(APPEND kept ${files_${batch}})
      continue()
    endif()
    set(includes)
    foreach(file ${files_${batch}})
      string(APPEND includes "#include \"${file}\"\n")
    endforeach()
    string(REGEX REPLACE "^(.*)_([0-9]+)$" "unity_\\2_\\1" name ${batch})
    file(CONFIGURE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/${name}.cc @ONLY CONTENT
"// Written by CMake (KERF_UNITY).
#if !defined(__clang__)  // what an included file keeps to itself stays in this one, too
#pragma GCC diagnostic ignored \"-Wsubobject-linkage\"
#endif
@includes@")
    list(APPEND kept ${CMAKE_CURRENT_BINARY_DIR}/${name}.cc)
  endforeach()
  set(${var} ${kept} PARENT_SCOPE)
endfunction()

# Writes the table of the plug-ins kind:Type of the folder `path` among `files`; `var` gets the source file's name.
function(kerf_plugin_table var path plugin)
  string(REPLACE ":" ";" pair ${plugin})
  list(GET pair 0 kind)
  list(GET pair 1 type)
  string(REGEX REPLACE "ch$" "che" plural ${kind})
  string(REGEX REPLACE "y$" "ie" plural ${plural})
  set(declarations)
  set(entries)
  foreach(file ${ARGN})
    get_filename_component(function ${file} NAME_WE)
    if(function MATCHES "^${kind}_")
      string(APPEND declarations "const ${type}& ${function}();\n")
      string(APPEND entries "      &${function}(),\n")
    endif()
  endforeach()
  set(table ${CMAKE_CURRENT_BINARY_DIR}/${kind}_table.cc)
  file(CONFIGURE OUTPUT ${table} @ONLY CONTENT
"// Written by CMake from the files ${path}/${kind}_*.cc.
#include \"${path}/${kind}.h\"
namespace kerf {
@declarations@
std::span<const ${type}* const> all_${plural}s() {
  static const ${type}* const table[] = {
@entries@  };
  return table;
}
}  // namespace kerf
")
  set(${var} ${table} PARENT_SCOPE)
endfunction()

function(kerf_module path)
  cmake_parse_arguments(MODULE "COLD" "APART" "PLUGINS;PLUGIN_FOLDERS;PRECOMPILE;LINK" ${ARGN})
  string(REPLACE "/" "_" name ${path})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  list(FILTER sources EXCLUDE REGEX "/main\\.cc$")
  kerf_isa_sources(sources)
  set(candidates ${sources})
  foreach(folder ${MODULE_PLUGIN_FOLDERS})
    file(GLOB files CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${folder}/*.cc)
    kerf_isa_sources(files)
    list(APPEND candidates ${files})
  endforeach()

  list(SORT candidates COMPARE FILE_BASENAME)
  foreach(plugin ${MODULE_PLUGINS})
    kerf_plugin_table(table ${path} ${plugin} ${candidates})
    list(APPEND sources ${table})
  endforeach()

  if(KERF_UNITY)
    kerf_unity_sources(sources "${MODULE_APART}")
    kerf_isa_sources(sources)
  endif()
  add_library(kerf_${name} STATIC ${sources})
  if(KERF_UNITY)
    # The compiler's own garbage collection, at g++'s default of 128 MB, is a tenth of its time on such files.
    target_compile_options(kerf_${name} PRIVATE $<$<CXX_COMPILER_ID:GNU>:--param=ggc-min-heapsize=524288>)
  endif()
  if(MODULE_COLD)
    target_compile_options(kerf_${name} PRIVATE $<$<CONFIG:Release>:-O1>)
  endif()
  if(MODULE_PRECOMPILE AND KERF_UNITY)
    target_precompile_headers(kerf_${name} PRIVATE ${MODULE_PRECOMPILE})
  endif()
  add_library(kerf::${name} ALIAS kerf_${name})
  set_target_properties(kerf_${name} PROPERTIES EXPORT_NAME ${name} POSITION_INDEPENDENT_CODE ON)
  target_link_libraries(kerf_${name} PUBLIC kerf_options ${MODULE_LINK})
  target_link_libraries(kerf_${name} PRIVATE $<BUILD_INTERFACE:kerf_warnings>)
  set_property(GLOBAL APPEND PROPERTY KERF_LIBRARIES kerf_${name})
  set_property(GLOBAL APPEND PROPERTY KERF_FOLDERS ${path})
endfunction()

function(kerf_module_group name)
  add_library(kerf_${name} INTERFACE)
  add_library(kerf::${name} ALIAS kerf_${name})
  set_target_properties(kerf_${name} PROPERTIES EXPORT_NAME ${name})
  target_link_libraries(kerf_${name} INTERFACE ${ARGN})
  set_property(GLOBAL APPEND PROPERTY KERF_LIBRARIES kerf_${name})
endfunction()
