# `cmake --install`: the program, the rooms as libraries, their headers and find_package(kerf).
include(CMakePackageConfigHelpers)
get_property(rooms GLOBAL PROPERTY KERF_ROOMS)
install(TARGETS kerf RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS ${rooms} kerf_options EXPORT kerfTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
        INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/kerf)
foreach(room ${rooms})
  string(REPLACE "kerf_" "" folder ${room})
  install(DIRECTORY ${CMAKE_SOURCE_DIR}/${folder}/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/kerf/${folder}
          FILES_MATCHING PATTERN "*.h")
endforeach()
install(EXPORT kerfTargets NAMESPACE kerf:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/kerf)
configure_package_config_file(${CMAKE_SOURCE_DIR}/cmake/kerfConfig.cmake.in ${CMAKE_BINARY_DIR}/kerfConfig.cmake
                              INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/kerf)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/kerfConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_SOURCE_DIR}/cmake/Finddnnl.cmake ${CMAKE_BINARY_DIR}/kerfConfig.cmake ${CMAKE_BINARY_DIR}/kerfConfigVersion.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/kerf)
