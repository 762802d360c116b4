# Text files as part of a library: spore_embed(target layer folder files...) adds a source to `target`, in which
# each file of `folder` is a string: spore/<layer>/embedded.h declares how they are found.
# As a script it writes that source: cmake -DOUT=... -DLAYER=... -DFOLDER=... -DFILES="a;b" -P cmake/embed.cmake

if(CMAKE_SCRIPT_MODE_FILE)
  set(source "// Made by cmake/embed.cmake.\n#include \"spore/${LAYER}/embedded.h\"\n\n#include <array>\n\n")
  list(LENGTH FILES count)
  string(APPEND source "namespace spore::${LAYER} {\nnamespace {\n\n"
                       "constexpr std::array<EmbeddedFile, ${count}> kFiles{{\n")
  foreach(file IN LISTS FILES)
    file(READ ${FOLDER}/${file} text)
    string(APPEND source "    {\"${file}\", R\"EMBEDDED(${text})EMBEDDED\"},\n")
  endforeach()
  string(APPEND source "}};\n\n}  // namespace\n\n"
                       "std::span<const EmbeddedFile> embedded_files() { return kFiles; }\n\n}  // namespace spore::${LAYER}\n")
  file(WRITE ${OUT} "${source}")
  return()
endif()

set(spore_embed_script ${CMAKE_CURRENT_LIST_FILE})
function(spore_embed target layer folder)
  set(out ${CMAKE_CURRENT_BINARY_DIR}/${target}_embedded.cc)
  list(TRANSFORM ARGN PREPEND ${folder}/ OUTPUT_VARIABLE paths)
  add_custom_command(
    OUTPUT ${out}
    COMMAND ${CMAKE_COMMAND} -DOUT=${out} -DLAYER=${layer} -DFOLDER=${folder} "-DFILES=${ARGN}" -P ${spore_embed_script}
    DEPENDS ${paths} ${spore_embed_script}
    VERBATIM)
  target_sources(${target} PRIVATE ${out})
endfunction()
