# tests/smith as the shared library spore_smith: modules from random bytes, for tests and fuzzers alone.  A cargo
# project of its own, built once for all presets.
set(SPORE_SMITH_DIR ${PROJECT_SOURCE_DIR}/build/rust-smith CACHE PATH "cargo's target directory of tests/smith")
set(smith_library ${SPORE_SMITH_DIR}/release/libspore_smith.so)

file(GLOB smith_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/smith/src/*.rs)
set(smith_stamp ${CMAKE_BINARY_DIR}/smith.stamp)
add_custom_command(
  OUTPUT ${smith_library} ${smith_stamp}
  COMMAND ${SPORE_CARGO} build --release --locked --manifest-path ${PROJECT_SOURCE_DIR}/tests/smith/Cargo.toml
          --target-dir ${SPORE_SMITH_DIR}
  COMMAND ${CMAKE_COMMAND} -E touch ${smith_stamp}
  DEPENDS ${smith_sources} ${PROJECT_SOURCE_DIR}/tests/smith/Cargo.toml ${PROJECT_SOURCE_DIR}/tests/smith/Cargo.lock
  COMMENT "Building the generator of modules (Rust)"
  USES_TERMINAL VERBATIM)
add_custom_target(smith_library DEPENDS ${smith_library} ${smith_stamp})

add_library(spore_smith INTERFACE)
add_dependencies(spore_smith smith_library)
target_link_libraries(spore_smith INTERFACE ${smith_library})
