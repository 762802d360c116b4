# The order of Spore's modules.  A module may include the modules listed above it, and no other.
# Read by the build (libraries and their dependencies) and by cmake/check_layers.cmake (every #include).
set(SPORE_LAYERS
    base
    wasm
    memory
    engine
    code
    host
    cell
    snapshot
    program
    handler
    runtime
    udf
    project)
