# rust/ as a library: cargo builds one static archive, shared by all presets (it takes minutes).
#   Spore::engine_library   what the C++ side links: the archive, or one shared object made of it
#   SPORE_ENGINE_INCLUDE    Wasmtime's C headers, copied there by rust/build.rs
# And once more, for the one benchmark that asks for it by spore_link_peers(): with the cargo feature
# bench-peers, which is never shipped.
find_program(SPORE_CARGO cargo REQUIRED DOC "cargo of Rust 1.95 or newer")
set(SPORE_RUST_DIR ${PROJECT_SOURCE_DIR}/build/rust CACHE PATH "cargo's target directory")
set(SPORE_ENGINE_INCLUDE ${SPORE_RUST_DIR}/include)
set(engine_archive ${SPORE_RUST_DIR}/release/libspore_rust.a)

set(cargo_features "")
if(SPORE_WAT)
  list(APPEND cargo_features wat)
endif()

file(GLOB_RECURSE rust_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/rust/src/*.rs ${PROJECT_SOURCE_DIR}/guests/wit/*.wit)
# spore_add_archive(target folder comment features...): `target` makes <folder>/release/libspore_rust.a and
# <folder>/include.
function(spore_add_archive target folder comment)
  list(JOIN ARGN "," features)
  set(archive ${folder}/release/libspore_rust.a)
  set(stamp ${CMAKE_BINARY_DIR}/${target}.stamp)
  add_custom_command(
    OUTPUT ${archive} ${stamp}
    COMMAND ${CMAKE_COMMAND} -E env SPORE_ENGINE_INCLUDE=${folder}/include ${SPORE_CARGO} build --release
            --locked --features "${features}" --manifest-path ${PROJECT_SOURCE_DIR}/rust/Cargo.toml
            --target-dir ${folder}
    COMMAND ${CMAKE_COMMAND} -E touch ${stamp}
    DEPENDS ${rust_sources} ${PROJECT_SOURCE_DIR}/rust/Cargo.toml ${PROJECT_SOURCE_DIR}/rust/Cargo.lock
            ${PROJECT_SOURCE_DIR}/rust/build.rs
    COMMENT ${comment}
    USES_TERMINAL VERBATIM)
  add_custom_target(${target} DEPENDS ${archive} ${stamp})
  file(MAKE_DIRECTORY ${folder}/include)
endfunction()
spore_add_archive(engine_archive ${SPORE_RUST_DIR} "Building the engine (Rust; the first time takes some minutes)"
                  ${cargo_features})

set(peers_dir ${SPORE_RUST_DIR}-peers)
spore_add_archive(engine_peers ${peers_dir} "Building the engine once more, with what it is compared with"
                  ${cargo_features} bench-peers)
add_custom_target(
  engine_peers_seed # what both have in common need not be compiled again: most of it
  COMMAND sh -c "[ -d $1/release ] || { rm -rf $1/seed; cp -a $0/release $1/seed; mv $1/seed $1/release; }"
          ${SPORE_RUST_DIR} ${peers_dir}
  VERBATIM)
add_dependencies(engine_peers_seed engine_archive)
add_dependencies(engine_peers engine_peers_seed)

# spore_link_peers(target): links the engine with the peers in it instead of the shipped one.
function(spore_link_peers target)
  set_target_properties(${target} PROPERTIES SPORE_ENGINE_ARCHIVE ${peers_dir}/release/libspore_rust.a)
  target_include_directories(${target} SYSTEM BEFORE PRIVATE ${peers_dir}/include)
  add_dependencies(${target} engine_peers)
endfunction()

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
  set(own_archive $<TARGET_PROPERTY:SPORE_ENGINE_ARCHIVE>) # of the program that is linked
  target_link_libraries(
    spore_engine_library INTERFACE $<BUILD_INTERFACE:$<IF:$<BOOL:${own_archive}>,${own_archive},${engine_archive}>>
                                   ${SPORE_ENGINE_SYSTEM_LIBRARIES})
endif()
