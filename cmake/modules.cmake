# spore_add_module(layer): spore/<layer>/*.cc becomes the static library Spore::<layer>, its *_test.cc one
# test program, its *_bench.cc one micro-benchmark, each *_fuzz.cc a fuzzer (or a replay of its corpus).

add_library(spore_flags INTERFACE)
target_compile_options(spore_flags INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor
                                             -Wimplicit-fallthrough -Wno-missing-field-initializers
                                             -fno-strict-aliasing)
if(SPORE_WERROR)
  target_compile_options(spore_flags INTERFACE -Werror)
endif()
if(SPORE_SANITIZE)
  target_compile_options(spore_flags INTERFACE -fsanitize=${SPORE_SANITIZE} -fno-omit-frame-pointer)
  target_link_options(spore_flags INTERFACE -fsanitize=${SPORE_SANITIZE})
  # For code that has to know; compilers say it in ways of their own.
  if(SPORE_SANITIZE MATCHES address)
    target_compile_definitions(spore_flags INTERFACE SPORE_ADDRESS_SANITIZER)
  elseif(SPORE_SANITIZE MATCHES thread)
    target_compile_definitions(spore_flags INTERFACE SPORE_THREAD_SANITIZER)
  endif()
  # Each program's own options; an object, since nothing refers to it by name.
  add_library(spore_sanitizer_options OBJECT ${PROJECT_SOURCE_DIR}/cmake/sanitizer_options.cc)
  target_link_libraries(spore_flags INTERFACE $<TARGET_OBJECTS:spore_sanitizer_options>)
  add_dependencies(spore_flags spore_sanitizer_options)
endif()

set(spore_below "") # the modules above the one being added
function(spore_add_module layer)
  set(folder ${PROJECT_SOURCE_DIR}/spore/${layer})
  file(GLOB sources CONFIGURE_DEPENDS ${folder}/*.cc)
  set(tests ${sources})
  set(fuzzers ${sources})
  set(benches ${sources})
  list(FILTER sources EXCLUDE REGEX "_(test|fuzz|bench)\\.cc$")
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  list(FILTER fuzzers INCLUDE REGEX "_fuzz\\.cc$")
  list(FILTER benches INCLUDE REGEX "_bench\\.cc$")

  # Where several files are compiled as one (preset clang): these have helpers of the same names.
  set(alone ${sources})
  list(FILTER alone INCLUDE REGEX "/(wasm/(asyncify|inspect|peak|prepare)|code/(code_maker|ladder|optimiser|rewriter|wasm_opt)|runtime/(machine|options))\\.cc$")
  set_source_files_properties(${alone} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  add_library(spore_${layer} STATIC ${sources})
  add_library(Spore::${layer} ALIAS spore_${layer})
  set_target_properties(spore_${layer} PROPERTIES EXPORT_NAME ${layer})
  target_include_directories(spore_${layer} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>
                                                   $<INSTALL_INTERFACE:include>)
  target_compile_features(spore_${layer} PUBLIC cxx_std_20)
  target_link_libraries(spore_${layer} PUBLIC ${spore_below} fmt::fmt
                                       PRIVATE $<BUILD_INTERFACE:spore_flags>)
  if(layer STREQUAL "base")
    target_link_libraries(spore_base PRIVATE OpenSSL::Crypto PkgConfig::ZSTD PkgConfig::LZ4)
    set_source_files_properties(${folder}/version.cc PROPERTIES COMPILE_DEFINITIONS
                                                                SPORE_VERSION="${PROJECT_VERSION}")
  elseif(layer STREQUAL "wasm")
    target_link_libraries(spore_wasm PUBLIC $<BUILD_INTERFACE:spore_engine_library>
                                            $<INSTALL_INTERFACE:Spore::rust>)
  elseif(layer STREQUAL "engine")
    target_include_directories(spore_engine SYSTEM PRIVATE ${SPORE_ENGINE_INCLUDE})
    add_dependencies(spore_engine engine_archive)
  elseif(layer STREQUAL "handler")
    spore_embed(spore_handler handler ${folder} python/runner.py)
  elseif(layer STREQUAL "project")
    set(tree ${PROJECT_SOURCE_DIR})
    file(GLOB_RECURSE embedded CONFIGURE_DEPENDS RELATIVE ${tree} ${tree}/guests/templates/*/* ${tree}/spore/handler/*/project/*)
    list(FILTER embedded EXCLUDE REGEX "__pycache__|node_modules|/target/|\\.wasm$")
    list(APPEND embedded guests/wit/document.wit guests/c/spore.h guests/go/spore/spore.go guests/assemblyscript/spore.ts
         guests/assemblyscript/spore.mjs)
    spore_embed(spore_project project ${tree} ${embedded})
  elseif(layer STREQUAL "code")
    # Where the compile helper is, for programs that do not lie beside it.
    target_compile_definitions(spore_code PRIVATE SPORE_LIBEXEC_DIR="${CMAKE_INSTALL_FULL_LIBEXECDIR}/spore")
  endif()
  set(spore_below ${spore_below} Spore::${layer} PARENT_SCOPE)

  set_property(GLOBAL APPEND PROPERTY SPORE_BENCH_SOURCES ${benches})
  if(SPORE_TESTS AND tests)
    set_property(GLOBAL APPEND PROPERTY SPORE_TEST_LAYERS ${layer})
    set_property(GLOBAL PROPERTY SPORE_TESTS_OF_${layer} ${tests})
  endif()
  if(SPORE_TESTS OR SPORE_FUZZERS)
    set_property(GLOBAL APPEND PROPERTY SPORE_FUZZER_SOURCES ${fuzzers})
  endif()
endfunction()
