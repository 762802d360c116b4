# rust/ as a library: cargo builds one static archive, shared by all presets (it takes minutes).
#   Spore::engine_library   what the C++ side links: the archive, or one shared object made of it
#   SPORE_ENGINE_INCLUDE    Wasmtime's C headers, copied there by rust/build.rs
find_program(SPORE_CARGO cargo REQUIRED DOC "cargo of Rust 1.95 or newer")
set(SPORE_RUST_DIR ${PROJECT_SOURCE_DIR}/build/rust CACHE PATH "cargo's target directory")
set(SPORE_ENGINE_INCLUDE ${SPORE_RUST_DIR}/include)
set(engine_archive ${SPORE_RUST_DIR}/release/libspore_rust.a)

set(cargo_features "")
if(SPORE_WAT)
  set(cargo_features --features wat)
endif()

file(GLOB_RECURSE rust_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/rust/src/*.rs)
set(engine_stamp ${CMAKE_BINARY_DIR}/engine_headers.stamp)
add_custom_command(
  OUTPUT ${engine_archive} ${engine_stamp}
  COMMAND ${CMAKE_COMMAND} -E env SPORE_ENGINE_INCLUDE=${SPORE_ENGINE_INCLUDE} ${SPORE_CARGO} build
          --release --locked ${cargo_features} --manifest-path ${PROJECT_SOURCE_DIR}/rust/Cargo.toml
          --target-dir ${SPORE_RUST_DIR}
  COMMAND ${CMAKE_COMMAND} -E touch ${engine_stamp}
  DEPENDS ${rust_sources} ${PROJECT_SOURCE_DIR}/rust/Cargo.toml ${PROJECT_SOURCE_DIR}/rust/Cargo.lock
          ${PROJECT_SOURCE_DIR}/rust/build.rs
  COMMENT "Building the engine (Rust; the first time takes some minutes)"
  USES_TERMINAL VERBATIM)
add_custom_target(engine_archive DEPENDS ${engine_archive} ${engine_stamp})
file(MAKE_DIRECTORY ${SPORE_ENGINE_INCLUDE})

# The Rust half needs these of the system.
set(SPORE_ENGINE_SYSTEM_LIBRARIES Threads::Threads ${CMAKE_DL_LIBS} m)

add_library(spore_engine_library INTERFACE)
add_library(Spore::engine_library ALIAS spore_engine_library)
add_dependencies(spore_engine_library engine_archive)
if(SPORE_ENGINE_SHARED)
  # One copy for all test programs, and the sanitizers want to know which code is not theirs.
  set(engine_shared ${CMAKE_BINARY_DIR}/lib/libspore_rust.so)
  add_custom_command(
    OUTPUT ${engine_shared}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/lib
    COMMAND ${CMAKE_CXX_COMPILER} -shared -o ${engine_shared} -Wl,-soname,libspore_rust.so
            -Wl,--whole-archive ${engine_archive} -Wl,--no-whole-archive -lpthread -ldl -lm
    DEPENDS ${engine_archive} VERBATIM)
  add_custom_target(engine_shared DEPENDS ${engine_shared})
  add_dependencies(spore_engine_library engine_shared)
  target_link_libraries(spore_engine_library INTERFACE ${engine_shared})
  target_link_options(spore_engine_library INTERFACE -Wl,-rpath,${CMAKE_BINARY_DIR}/lib)
else()
  target_link_libraries(spore_engine_library INTERFACE $<BUILD_INTERFACE:${engine_archive}>
                                                       ${SPORE_ENGINE_SYSTEM_LIBRARIES})
endif()
