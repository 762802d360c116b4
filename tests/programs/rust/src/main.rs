//! A Rust program that uses what WASI offers as a Rust program does.  What it does: ../../README.md.

use std::collections::hash_map::RandomState;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, BufRead, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

fn kind<T>(result: io::Result<T>) -> String {
    match result {
        Ok(_) => "done".to_string(),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound => "not found".to_string(),
            io::ErrorKind::AlreadyExists => "exists".to_string(),
            io::ErrorKind::DirectoryNotEmpty => "not empty".to_string(),
            io::ErrorKind::IsADirectory => "is a directory".to_string(),
            io::ErrorKind::NotADirectory => "not a directory".to_string(),
            // The standard library has no kind for it on WASI.
            _ if error.to_string().starts_with("Directory not empty") => "not empty".to_string(),
            _ => error.to_string(),
        },
    }
}

// --- args, env, lines, cat ---------------------------------------------------------------------------

fn args(program: &str, words: &[String]) -> io::Result<()> {
    let name = Path::new(program).file_name().unwrap_or_default().to_string_lossy().into_owned();
    println!("program: {}", name.strip_suffix(".wasm").unwrap_or(&name));
    println!("words: {}", words.len());
    for (i, word) in words.iter().enumerate() {
        println!("{} ({} bytes): {}", i + 1, word.len(), word);
    }
    Ok(())
}

fn env(names: &[String]) -> io::Result<()> {
    for name in names {
        match std::env::var(name) {
            Ok(value) => println!("{name}={value}"),
            Err(_) => println!("{name} is not set"),
        }
    }
    if names.is_empty() {
        let mut all: Vec<String> = std::env::vars().map(|(name, value)| format!("{name}={value}")).collect();
        all.sort();
        for line in all {
            println!("{line}");
        }
    }
    Ok(())
}

fn lines() -> io::Result<()> {
    let mut number = 0;
    let mut bytes = 0;
    let mut input = io::stdin().lock();
    let mut line = String::new();
    while input.read_line(&mut line)? > 0 {
        number += 1;
        bytes += line.len();
        print!("{number}: {}", line.to_ascii_uppercase());
        line.clear();
    }
    io::stdout().flush()?;
    eprintln!("lines: {number}, bytes: {bytes}");
    Ok(())
}

fn cat(path: &str) -> io::Result<ExitCode> {
    let Ok(mut file) = File::open(path) else {
        eprintln!("cat: cannot read {path}");
        return Ok(ExitCode::from(1));
    };
    io::copy(&mut file, &mut io::stdout())?;
    Ok(ExitCode::SUCCESS)
}

// --- files -------------------------------------------------------------------------------------------

fn small_file(folder: &Path) -> io::Result<()> {
    let notes = folder.join("notes.txt");
    let journal = folder.join("journal.txt");
    fs::write(&notes, "first, of two\nsecond line\n")?;
    OpenOptions::new().append(true).open(&notes)?.write_all(b"appended\n")?;
    println!("size: {}", fs::metadata(&notes)?.len());
    print!("{}", fs::read_to_string(&notes)?);

    let mut file = OpenOptions::new().read(true).write(true).open(&notes)?;
    println!("seek: {}", file.seek(SeekFrom::Start(7))?);
    file.write_all(b"OF TWO")?;
    println!("at: {}", file.stream_position()?);
    println!("end: {}", file.seek(SeekFrom::End(-9))?);
    let mut tail = [0; 8];
    file.read_exact(&mut tail)?;
    println!("tail: {}", String::from_utf8_lossy(&tail));
    file.set_len(13)?;
    drop(file);
    println!("truncated: {}", fs::metadata(&notes)?.len());
    println!("{}", fs::read_to_string(&notes)?);

    println!("rename: {}", kind(fs::rename(&notes, &journal)));
    println!("old name: {}", kind(fs::metadata(&notes)));
    println!("new name: {}", kind(fs::metadata(&journal)));
    let modified = fs::metadata(&journal)?.modified()?;
    let minute = Duration::from_secs(60);
    let lately = match SystemTime::now().duration_since(modified) {
        Ok(age) => age < 24 * 60 * minute,
        Err(future) => future.duration() < minute,
    };
    println!("modified: {}", if lately { "lately" } else { "long ago" });
    Ok(())
}

/// Written and read in pieces of different lengths.
fn big_file(folder: &Path) -> io::Result<()> {
    let path = folder.join("big.bin");
    let bytes: Vec<u8> = (0..(1u32 << 20) + 17).map(|i| ((i * 31 + 7) >> 3) as u8).collect();
    let mut file = File::create(&path)?;
    for piece in bytes.chunks(60001) {
        file.write_all(piece)?;
    }
    drop(file);

    let mut file = File::open(&path)?;
    let mut piece = [0; 4093];
    let mut hash = 2166136261u32;
    let mut total = 0;
    loop {
        let count = file.read(&mut piece)?;
        if count == 0 {
            break;
        }
        hash = piece[..count].iter().fold(hash, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(16777619));
        total += count;
    }
    println!("big: {} bytes, {} read, hash {:08x}", fs::metadata(&path)?.len(), total, hash);
    Ok(())
}

/// Names, sorted, and whether each is a folder.
fn list(folder: &Path) -> io::Result<Vec<(String, bool)>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        names.push((entry.file_name().to_string_lossy().into_owned(), entry.file_type()?.is_dir()));
    }
    names.sort();
    Ok(names)
}

/// More entries than one answer of the host holds.
fn many_files(folder: &Path) -> io::Result<()> {
    for i in 0..300 {
        fs::write(folder.join(format!("item-{i:03}")), &"abcdef"[6 - i % 7..])?;
    }
    fs::create_dir(folder.join("inner"))?;

    let names = list(folder)?;
    let mut bytes = 0;
    println!("entries: {}", names.len());
    for (i, (name, is_folder)) in names.iter().enumerate() {
        if !is_folder {
            bytes += fs::metadata(folder.join(name))?.len();
        }
        if i < 3 || i + 5 > names.len() {
            println!("  {} {name}", if *is_folder { "folder" } else { "file" });
        }
    }
    println!("bytes in all: {bytes}");
    Ok(())
}

fn wrong_uses(folder: &Path) {
    println!("open missing: {}", kind(File::open(folder.join("missing"))));
    println!("create what is there: {}", kind(File::create_new(folder.join("item-000"))));
    println!("write to a folder: {}", kind(OpenOptions::new().write(true).open(folder.join("inner"))));
    println!("list a file: {}", kind(fs::read_dir(folder.join("item-000"))));
    println!("remove a full folder: {}", kind(fs::remove_dir(folder)));
    println!("unlink missing: {}", kind(fs::remove_file(folder.join("missing"))));
}

fn remove_all(folder: &Path) -> io::Result<()> {
    for (name, is_folder) in list(folder)? {
        let path = folder.join(name);
        if is_folder {
            fs::remove_dir(path)?;
        } else {
            fs::remove_file(path)?;
        }
    }
    println!("left: {}", list(folder)?.len());
    println!("remove the folder: {}", kind(fs::remove_dir(folder)));
    Ok(())
}

fn files(top: &Path) -> io::Result<()> {
    let folder = top.join("work");
    println!("make a folder: {}", kind(fs::create_dir(&folder)));
    println!("and again: {}", kind(fs::create_dir(&folder)));
    small_file(&folder)?;
    big_file(&folder)?;
    many_files(&folder)?;
    wrong_uses(&folder);
    remove_all(&folder)?;
    fs::write(top.join("kept.txt"), "kept by the guest\n")
}

// --- machine -----------------------------------------------------------------------------------------

/// The standard library's one use of random numbers: the keys of its hash tables.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn machine() -> io::Result<()> {
    let begin = Instant::now();
    std::thread::sleep(Duration::from_millis(20));
    let slept = begin.elapsed();
    let is_right = slept >= Duration::from_millis(20) && slept < Duration::from_secs(5);
    println!("slept: {}", if is_right { "20 ms" } else { "wrong" });
    let year_2020 = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    println!("year: {}", if SystemTime::now() > year_2020 { "after 2020" } else { "wrong" });
    println!("random: {}", if random() != random() { "differs" } else { "the same" });
    Ok(())
}

fn run(program: &str, command: &str, words: &[String]) -> io::Result<ExitCode> {
    match (command, words) {
        ("args", _) => args(program, words)?,
        ("env", _) => env(words)?,
        ("lines", _) => lines()?,
        ("files", [folder]) => files(Path::new(folder))?,
        ("cat", [path]) => return cat(path),
        ("machine", _) => machine()?,
        ("crash", _) => std::process::abort(),
        ("fail", [code, rest @ ..]) => {
            eprintln!("{}", rest.join(" "));
            return Ok(ExitCode::from(code.parse::<u8>().unwrap_or(1)));
        }
        _ => {
            eprintln!(
                "usage: args | env | lines | files FOLDER | cat PATH | machine | fail CODE WORDS | crash"
            );
            return Ok(ExitCode::from(2));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn main() -> ExitCode {
    let all: Vec<String> = std::env::args().collect();
    let command = all.get(1).map_or("", String::as_str);
    run(&all[0], command, all.get(2..).unwrap_or_default()).unwrap_or_else(|error| {
        eprintln!("{command}: {error}");
        ExitCode::from(1)
    })
}
