# `cmake --install`: the program, the modules as libraries, their headers and find_package(kerf). Headers lie under
# include/kerf and are included as <kerf/core/error.h>; they include each other as "core/error.h", as in the sources.
include(CMakePackageConfigHelpers)
get_property(libraries GLOBAL PROPERTY KERF_LIBRARIES)
get_property(folders GLOBAL PROPERTY KERF_FOLDERS)
install(TARGETS kerf RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS ${libraries} kerf_options EXPORT kerfTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
        INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} ${CMAKE_INSTALL_INCLUDEDIR}/kerf)
list(REMOVE_ITEM folders cli)  # the program's own
foreach(folder ${folders})
  file(GLOB headers ${CMAKE_SOURCE_DIR}/${folder}/*.h)
  list(FILTER headers EXCLUDE REGEX "_(body|avx2|avx512|ref)\\.h$")  # texts that one kernel's files are made of
  install(FILES ${headers} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/kerf/${folder})
endforeach()
install(EXPORT kerfTargets NAMESPACE kerf:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/kerf)
configure_package_config_file(${CMAKE_SOURCE_DIR}/cmake/kerfConfig.cmake.in ${CMAKE_BINARY_DIR}/kerfConfig.cmake
                              INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/kerf)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/kerfConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_SOURCE_DIR}/cmake/Finddnnl.cmake ${CMAKE_BINARY_DIR}/kerfConfig.cmake ${CMAKE_BINARY_DIR}/kerfConfigVersion.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/kerf)
install(FILES ${CMAKE_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
