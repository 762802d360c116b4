# cmake --install: static libraries, headers, the CLI; find_package(Spore) or pkg-config spore.  And libspore.so with
# its header, for C: pkg-config spore-c.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

if(SPORE_ENGINE_SHARED)
  return() # a build for tests
endif()

set(installed_targets "")
foreach(layer IN LISTS SPORE_LAYERS)
  list(APPEND installed_targets spore_${layer})
endforeach()
install(TARGETS ${installed_targets} EXPORT SporeTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS spore_c EXPORT SporeTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES include/spore.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(TARGETS spore RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS spore-compile RUNTIME DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/spore)
install(FILES ${engine_archive} DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY spore DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h"
        # These need Wasmtime's headers, or are nobody's business.
        PATTERN "handles.h" EXCLUDE PATTERN "host_call.h" EXCLUDE PATTERN "fork_guard.h" EXCLUDE PATTERN "code_file.h" EXCLUDE
        PATTERN "wasi_call.h" EXCLUDE PATTERN "child.h" EXCLUDE REGEX "/snapshot/(check|file|format|pages|parts|stored|superblock)\\.h$" EXCLUDE)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/Spore)
install(EXPORT SporeTargets NAMESPACE Spore:: DESTINATION ${package_dir})
configure_package_config_file(cmake/SporeConfig.cmake.in ${CMAKE_BINARY_DIR}/SporeConfig.cmake
                              INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/SporeConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/SporeConfig.cmake ${CMAKE_BINARY_DIR}/SporeConfigVersion.cmake
        DESTINATION ${package_dir})

foreach(package spore spore-c)
  configure_file(cmake/${package}.pc.in ${CMAKE_BINARY_DIR}/${package}.pc @ONLY)
  install(FILES ${CMAKE_BINARY_DIR}/${package}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endforeach()
