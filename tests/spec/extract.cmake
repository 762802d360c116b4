# Run with -P: extracts the suite into OUT_DIR with CARGO, afresh.  TARGET_DIR is cargo's.
cmake_minimum_required(VERSION 3.25)
file(REMOVE_RECURSE ${OUT_DIR}) # another version's files would stay
execute_process(
  COMMAND ${CARGO} run --release --locked --manifest-path ${CMAKE_CURRENT_LIST_DIR}/extract/Cargo.toml
          --target-dir ${TARGET_DIR} -- ${OUT_DIR}
  COMMAND_ERROR_IS_FATAL ANY)
