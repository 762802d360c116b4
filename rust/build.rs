// Copies Wasmtime's C headers to where the C++ build looks for them: the path that cargo gives them
// holds a hash.  CMake names the folder in SPORE_ENGINE_INCLUDE.
use std::{env, fs, io, path::Path};

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else if fs::read(entry.path()).ok() != fs::read(&target).ok() {
            fs::copy(entry.path(), &target)?; // untouched when equal: no needless rebuild in C++
        }
    }
    Ok(())
}

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=SPORE_ENGINE_INCLUDE");
    let (Ok(from), Ok(to)) = (
        env::var("DEP_WASMTIME_C_API_INCLUDE"),
        env::var("SPORE_ENGINE_INCLUDE"),
    ) else {
        return; // a plain `cargo build`, without CMake
    };
    copy_tree(Path::new(&from), Path::new(&to)).expect("copying Wasmtime's headers");
}
