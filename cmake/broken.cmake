# The test of a differential test.  Where a header of spore/base/ is asked, code can be broken in one way each: the
# program of the test with those sources compiled so, ahead of the libraries that have them as they should be, must
# find it.
#
# add_broken(test enum name [USES regex] flags...): of tests/<test>, whose objects are <test>_main.  Sources that
# match `regex` ask for <enum>::k<name>, too, by way of a header.  If one is missing, the mismatch is, too.
function(add_broken test enum name)
  cmake_parse_arguments(arg "" "USES" "" ${ARGN})
  set(asks "${enum}::k${name}")
  if(arg_USES)
    string(APPEND asks "|${arg_USES}")
  endif()
  set(broken "")
  foreach(layer IN LISTS SPORE_LAYERS)
    file(GLOB sources ${PROJECT_SOURCE_DIR}/spore/${layer}/*.cc)
    list(FILTER sources EXCLUDE REGEX "_(test|fuzz|bench)\\.cc$")
    foreach(source IN LISTS sources)
      file(STRINGS ${source} lines REGEX "${asks}")
      if(lines)
        list(APPEND broken ${source})
      endif()
    endforeach()
  endforeach()
  if(NOT broken)
    message(FATAL_ERROR "no source asks for ${enum}::k${name}")
  endif()
  string(REGEX REPLACE "([a-z])([A-Z])" "\\1_\\2" program ${test}_broken_${name})
  string(TOLOWER ${program} program)
  string(REGEX REPLACE "([a-z])([A-Z])" "\\1_\\2" define SPORE_${enum})
  string(TOUPPER ${define} define)
  add_executable(${program} $<TARGET_OBJECTS:${test}_main> ${broken})
  target_compile_definitions(${program} PRIVATE ${define}=k${name})
  target_include_directories(${program} SYSTEM PRIVATE ${SPORE_ENGINE_INCLUDE})
  target_link_libraries(${program} PRIVATE ${test}_check differential_runner spore_flags)
  add_test(NAME ${program} COMMAND ${program} --count 3000 --until-mismatch --out ${CMAKE_BINARY_DIR}/${test}
                                   ${arg_UNPARSED_ARGUMENTS})
  set_tests_properties(${program} PROPERTIES LABELS ${test} TIMEOUT 300 SKIP_RETURN_CODE 77)
endfunction()
