//! What the variants of a picture cost: CPU time, the peak of memory, and how good they are.
//!
//! `cargo bench -p mana-media --bench recipe`. With `MANA_SHARP_DIR` set to a folder that holds `node_modules/sharp`, and `node` in
//! the path, the same files go through sharp in the same run, and the ratios and the quality gate are printed, too. Every case
//! is a process of its own, so that its peak is its own; the times of both sides are CPU times of warm rounds, taken in turn,
//! the least of three.
#![expect(clippy::print_stdout, reason = "a benchmark speaks to a terminal")]
#![expect(clippy::cast_precision_loss, reason = "sizes of files, as megabytes")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use mana_media::image::{Limits, Recipe, Transform, exif, inspect, transform, variants};

mod support;

// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often a process does the work.
const ROUNDS: u32 = 6;

/// How often a case is measured.
const TURNS: usize = 3;

struct Case {
    name: &'static str,
    file: &'static str,
    make: fn() -> Vec<u8>,
}

const CASES: [Case; 4] = [
    Case { name: "12 MP JPEG", file: "photo.jpg", make: || jpeg(4000, 3000, 90, false) },
    Case { name: "24 MP progressive JPEG", file: "progressive.jpg", make: || jpeg(6000, 4000, 88, true) },
    Case { name: "6 MP RGBA PNG", file: "alpha.png", make: || png(3000, 2000) },
    Case { name: "12 MP WebP", file: "photo.webp", make: || webp(4000, 3000) },
];

#[expect(clippy::disallowed_methods, reason = "a benchmark has no settings but its arguments")]
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--job", file, method, rounds, output] => job(Path::new(file), method, rounds, output),
        ["--transform", file] => transform_job(Path::new(file)),
        _ => report(),
    }
}

/// One case in its own process: prints CPU milliseconds a round and the peak in MiB.
fn job(file: &Path, method: &str, rounds: &str, output: &str) {
    let bytes = std::fs::read(file).expect("the file was just written");
    let recipe = Recipe { method: method.parse().expect("a method") };
    let rounds: u32 = rounds.parse().expect("a number of rounds");
    let limits = Limits::default();
    let made = variants(&bytes, &limits, &recipe).expect("the file is right");
    // The peak of one job alone, before more of them add to it what the allocator keeps.
    let peak = peak();
    let before = cpu();
    for _ in 0..rounds {
        assert!(variants(&bytes, &limits, &recipe).is_ok() && inspect(&bytes, &limits).is_ok());
        let _ = exif(&bytes);
    }
    let spent = (cpu() - before) / f64::from(rounds);
    for (name, made) in [("thumb", Some(made.thumb)), ("medium", made.medium), ("large", made.large)] {
        if let Some(made) = made {
            std::fs::write(format!("{output}-{name}.webp"), made.bytes).expect("the folder is there");
        }
    }
    println!("{spent} {peak}");
}

/// A transform: what is computed once and then served from the cache.
fn transform_job(file: &Path) {
    let bytes = std::fs::read(file).expect("the file was just written");
    let wanted = Transform::parse(Some("640"), None, None, None, None).expect("right parameters");
    let before = cpu();
    for _ in 0..ROUNDS {
        assert!(transform(&bytes, &Limits::default(), &wanted).is_ok());
    }
    let spent = (cpu() - before) / f64::from(ROUNDS);
    // What a hit costs at least: reading the finished file.
    let cached = std::env::temp_dir().join(format!("mana-bench-cached-{}", std::process::id()));
    std::fs::write(&cached, transform(&bytes, &Limits::default(), &wanted).expect("right").bytes)
        .expect("a temporary file");
    let started = std::time::Instant::now();
    for _ in 0..100 {
        assert!(!std::fs::read(&cached).expect("it was just written").is_empty());
    }
    let hit = started.elapsed().as_secs_f64() * 10.0;
    let _ = std::fs::remove_file(&cached);
    println!("{spent} {hit}");
}

/// What a process said, and what it made.
struct Measured {
    cpu: f64,
    peak: f64,
    output: PathBuf,
}

fn report() {
    let folder = std::env::temp_dir().join(format!("mana-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let sharp = sharp();
    let mut out =
        String::from("CPU ms a file and MiB at the peak, least of three; ratio = sharp as three pipelines / ours\n");
    if sharp.is_none() {
        out.push_str("sharp is not compared: set MANA_SHARP_DIR to a folder with node_modules/sharp, and have node in the path\n");
    }
    for case in &CASES {
        let file = folder.join(case.file);
        let bytes = (case.make)();
        std::fs::write(&file, &bytes).expect("the folder is there");
        let _ = writeln!(out, "\n{} ({:.1} MB)", case.name, bytes.len() as f64 / 1e6);
        drop(bytes);
        for method in [2_u8, 4] {
            // In turn, so that whatever else the machine does falls on all of them alike.
            let mut best: [Option<Measured>; 3] = [None, None, None];
            for _ in 0..TURNS {
                keep(&mut best[0], ours(&file, method, &folder));
                if let Some(sharp) = &sharp {
                    keep(&mut best[1], theirs(sharp, &file, "three", 4, &folder));
                    if method == 4 {
                        keep(&mut best[2], theirs(sharp, &file, "smart", 4, &folder));
                    }
                }
            }
            let [Some(ours), three, smart] = best else { continue };
            let _ = write!(out, "  method {method}: {:6.1} ms {:6.1} MiB", ours.cpu, ours.peak);
            if let Some(three) = &three {
                let _ = write!(
                    out,
                    " | sharp effort 4: {:6.1} ms {:6.1} MiB | ratio {:.2}",
                    three.cpu,
                    three.peak,
                    three.cpu / ours.cpu
                );
            }
            if let Some(smart) = &smart {
                let _ = write!(out, " | sharp, one decode: {:6.1} ms, ratio {:.2}", smart.cpu, smart.cpu / ours.cpu);
            }
            out.push('\n');
            if let Some(three) = &three {
                gate(&mut out, &file, &ours.output, &three.output);
            }
        }
    }
    let (made, hit) = child(&["--transform".as_ref(), folder.join("photo.jpg").as_os_str()]);
    let _ =
        writeln!(out, "\ntransform of the 12 MP JPEG to 640 wide: {made:.1} ms CPU; read again from disk: {hit:.3} ms");
    print!("{out}");
    let _ = std::fs::remove_dir_all(&folder);
}

fn keep(best: &mut Option<Measured>, new: Measured) {
    if best.as_ref().is_none_or(|best| new.cpu < best.cpu) {
        *best = Some(new);
    }
}

fn child(arguments: &[&std::ffi::OsStr]) -> (f64, f64) {
    let output =
        Command::new(std::env::current_exe().expect("this program")).args(arguments).output().expect("a process");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("numbers");
    let mut numbers = text.split_whitespace().map(|number| number.parse().expect("a number"));
    (numbers.next().expect("the time"), numbers.next().expect("the peak"))
}

fn ours(file: &Path, method: u8, folder: &Path) -> Measured {
    let output = folder.join(format!("ours-{method}"));
    let (method, rounds) = (method.to_string(), ROUNDS.to_string());
    let (cpu, peak) =
        child(&["--job".as_ref(), file.as_os_str(), method.as_ref(), rounds.as_ref(), output.as_os_str()]);
    Measured { cpu, peak, output }
}

/// The folder with sharp in it, if sharp can be run.
#[expect(clippy::disallowed_methods, reason = "a benchmark has no settings but its environment")]
fn sharp() -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os("MANA_SHARP_DIR")?);
    let node = Command::new("node").arg("--version").output().is_ok_and(|output| output.status.success());
    (node && folder.join("node_modules/sharp").is_dir()).then_some(folder)
}

fn theirs(sharp: &Path, file: &Path, mode: &str, effort: u8, folder: &Path) -> Measured {
    let output = folder.join(format!("sharp-{mode}-{effort}"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/sharp.mjs");
    let mut command = Command::new("node");
    command.arg(script).args([sharp, file]).args([mode, &effort.to_string(), &ROUNDS.to_string()]).arg(&output);
    let answer = command.output().expect("node runs");
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&answer.stdout).expect("one line of JSON");
    let number = |key: &str| answer[key].as_f64().expect("a number");
    Measured { cpu: number("cpu"), peak: number("peak"), output }
}

/// How alike to the original each variant is, ours and sharp's, and how many bytes it has.
fn gate(out: &mut String, original: &Path, ours: &Path, theirs: &Path) {
    for (name, slack) in [("large", 0.003), ("medium", 0.0)] {
        let read = |prefix: &Path| std::fs::read(format!("{}-{name}.webp", prefix.display())).expect("it was written");
        let (mine, other) = (read(ours), read(theirs));
        let (a, b) = (decoded(&mine), decoded(&other));
        let reference = straight(original, a.1, a.2);
        let width = a.1 as usize;
        let (ours, theirs) = (support::ssim(&a.0, &reference, width), support::ssim(&b.0, &reference, width));
        let bytes = (mine.len() as f64 / other.len() as f64 - 1.0) * 100.0;
        let held = ours >= theirs - slack && bytes <= 5.0;
        let _ = writeln!(
            out,
            "    {name}: SSIM {ours:.4} against {theirs:.4}, bytes {bytes:+.1} %: {}",
            if held { "held" } else { "NOT HELD" }
        );
    }
}

/// The luma and the size of a WebP, on black.
fn decoded(bytes: &[u8]) -> (Vec<f32>, u32, u32) {
    let image = mana_codecs::webp::decode_rgba(bytes).expect("a WebP");
    (on_black(&image.pixels), image.width, image.height)
}

fn on_black(rgba: &[u8]) -> Vec<f32> {
    let alpha = rgba.chunks_exact(4).map(|pixel| f32::from(pixel[3]) / 255.0);
    support::luma(rgba, 4).into_iter().zip(alpha).map(|(luma, alpha)| luma * alpha).collect()
}

/// The original shrunk straight from all of its pixels, in premultiplied RGBA, with Lanczos' filter.
fn straight(original: &Path, width: u32, height: u32) -> Vec<f32> {
    use fast_image_resize::{PixelType, ResizeOptions, Resizer, images::Image};
    let bytes = std::fs::read(original).expect("it was written");
    let (rgba, from) = match original.extension().and_then(|extension| extension.to_str()) {
        Some("jpg") => {
            let pixels = mana_codecs::jpeg::Decoder::new(&bytes, None)
                .and_then(mana_codecs::jpeg::Decoder::pixels)
                .expect("a JPEG");
            let rgba = pixels.data.chunks_exact(3).flat_map(|p| [p[0], p[1], p[2], 255]).collect();
            (rgba, (pixels.width, pixels.height))
        }
        Some("webp") => {
            let image = mana_codecs::webp::decode_rgba(&bytes).expect("a WebP");
            (image.pixels, (image.width, image.height))
        }
        _ => {
            let image = image::load_from_memory(&bytes).expect("a PNG").into_rgba8();
            let size = image.dimensions();
            (image.into_raw(), size)
        }
    };
    let source = Image::from_vec_u8(from.0, from.1, rgba, PixelType::U8x4).expect("the right size");
    let mut target = Image::new(width, height, PixelType::U8x4);
    Resizer::new().resize(&source, &mut target, &ResizeOptions::new()).expect("the same type");
    on_black(target.buffer())
}

fn jpeg(width: u32, height: u32, quality: u8, progressive: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut bytes, quality);
    encoder.set_sampling_factor(jpeg_encoder::SamplingFactor::F_2_2);
    encoder.set_progressive(progressive);
    let (across, down) = (u16::try_from(width).expect("small"), u16::try_from(height).expect("small"));
    let rgb = support::photo(width, height, 22.0, 1);
    encoder.encode(&rgb, across, down, jpeg_encoder::ColorType::Rgb).expect("an encoder");
    bytes
}

/// A photograph that fades out towards its edges.
fn png(width: u32, height: u32) -> Vec<u8> {
    use image::ImageEncoder;
    let rgb = support::photo(width, height, 6.0, 2);
    let fade = |at: usize| {
        let (x, y) = (at % width as usize, at / width as usize);
        let edge = x.min(y).min(width as usize - 1 - x).min(height as usize - 1 - y);
        u8::try_from(edge.min(255)).unwrap_or(255)
    };
    let rgba: Vec<u8> = rgb.chunks_exact(3).enumerate().flat_map(|(at, p)| [p[0], p[1], p[2], fade(at)]).collect();
    let mut bytes = Vec::new();
    let encoder = image::codecs::png::PngEncoder::new(&mut bytes);
    encoder.write_image(&rgba, width, height, image::ExtendedColorType::Rgba8).expect("an encoder");
    bytes
}

fn webp(width: u32, height: u32) -> Vec<u8> {
    let rgb = support::photo(width, height, 22.0, 3);
    let rgba: Vec<u8> = rgb.chunks_exact(3).flat_map(|p| [p[0], p[1], p[2], 255]).collect();
    let options = mana_codecs::webp::Options { quality: 90.0, method: 2, deadline: None };
    mana_codecs::webp::encode_rgba(&rgba, width, height, &options).expect("an encoder")
}

/// CPU time of this process so far, in milliseconds.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    // User and system time are the 14th and 15th field; the 2nd is in brackets and may have blanks. 100 ticks a second.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<f64>().expect("a number");
    (ticks(11) + ticks(12)) * 10.0
}

/// The most memory that was resident, in MiB.
fn peak() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("Linux says so");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).expect("a number") / 1024.0
}
