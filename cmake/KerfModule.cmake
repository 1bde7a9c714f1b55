# kerf_module(PATH [PLUGINS kind:Type ...] [PLUGIN_FOLDERS folder ...] [LINK library ...])
#   One folder, one static library made of its *.cc files: model/text becomes kerf_model_text, or kerf::model_text.
#   - A file ending in _avx2.cc or _avx512.cc is compiled for that instruction set, and only on x86-64.
#   - PLUGINS kind:Type collects the files <kind>_<name>.cc of the folder and of PLUGIN_FOLDERS below it, each of which
#     defines `const Type& <kind>_<name>()`, into a generated table `std::span<const Type* const> all_<kind>s()`
#     (searches, families), declared in the header <PATH>/<kind>.h.
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
target_compile_options(kerf_warnings INTERFACE -Wall -Wextra -Wconversion -Wno-restrict -Wno-missing-field-initializers
                       -Wno-psabi)
if(KERF_WERROR)
  target_compile_options(kerf_warnings INTERFACE -Werror)
endif()
if(KERF_SANITIZE)
  # Without SLP vectorization, in which g++ 12 crashes on instrumented vector code (grids/search/int_search_avx512.cc), and
  # without a warning that instrumented code of std::optional raises for no reason.
  add_compile_options(-fsanitize=${KERF_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all
                      -fno-tree-slp-vectorize -Wno-maybe-uninitialized)
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
  cmake_parse_arguments(MODULE "" "" "PLUGINS;PLUGIN_FOLDERS;LINK" ${ARGN})
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

  add_library(kerf_${name} STATIC ${sources})
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
