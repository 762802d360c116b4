# spore/*/NAME_fuzz.cc: with SPORE_FUZZERS a libFuzzer program fuzz_NAME; with SPORE_TESTS the same code
# replays tests/corpus/NAME, where each input that once failed is kept, as the test fuzz_NAME_corpus.
get_property(fuzzer_sources GLOBAL PROPERTY SPORE_FUZZER_SOURCES)
foreach(source IN LISTS fuzzer_sources)
  get_filename_component(name ${source} NAME_WE)
  string(REGEX REPLACE "_fuzz$" "" name ${name})
  set(program fuzz_${name})
  if(SPORE_FUZZERS)
    add_executable(${program} ${source})
    target_link_options(${program} PRIVATE -fsanitize=fuzzer)
  else()
    add_executable(${program} ${source} ${PROJECT_SOURCE_DIR}/tests/fuzz_replay.cc)
    add_test(NAME fuzz_${name}_corpus COMMAND ${program} ${PROJECT_SOURCE_DIR}/tests/corpus/${name})
    set_tests_properties(fuzz_${name}_corpus PROPERTIES LABELS fuzz ENVIRONMENT
                                                        "${SPORE_TEST_ENVIRONMENT}")
  endif()
  target_link_libraries(${program} PRIVATE Spore::runtime spore_flags)
endforeach()
