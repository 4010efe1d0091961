//! A folder of PNG images made small by a pool of processes.
//!
//! ```sh
//! cargo run --release --example thumbnails                    # images of its own making, one of them corrupt
//! cargo run --release --example thumbnails -- pictures out    # your own
//! cargo run --release --example thumbnails -- --kill-workers  # while somebody kills the workers
//! ```
//!
//! A decoder that crashes takes its process along and nothing else: that image fails, the others do not.

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ropewalk::process::{Pool, TaskError};

const SIDE: u32 = 64;

struct Picture {
    width: u32,
    height: u32,
    /// Red, green, blue.
    pixels: Vec<[u8; 3]>,
}

fn read(path: &Path) -> Result<Picture, String> {
    let failed = |error: &dyn Error| format!("{}: {error}", path.display());
    let file = File::open(path).map_err(|error| failed(&error))?;
    let mut decoder = png::Decoder::new(BufReader::new(file));
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(|error| failed(&error))?;
    let size = reader.output_buffer_size().ok_or_else(|| format!("{}: too large", path.display()))?;
    let mut bytes = vec![0; size];
    let frame = reader.next_frame(&mut bytes).map_err(|error| failed(&error))?;
    let samples = frame.color_type.samples();
    let pixel = |sample: &[u8]| if samples < 3 { [sample[0]; 3] } else { [sample[0], sample[1], sample[2]] };
    let pixels = bytes[..frame.buffer_size()].chunks_exact(samples).map(pixel).collect();
    Ok(Picture { width: frame.width, height: frame.height, pixels })
}

fn write(path: &Path, picture: &Picture) -> Result<(), Box<dyn Error>> {
    let mut encoder = png::Encoder::new(BufWriter::new(File::create(path)?), picture.width, picture.height);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(picture.pixels.as_flattened())?;
    Ok(writer.finish()?)
}

/// The mean of the pixels that each new one covers.
fn shrink(picture: &Picture) -> Picture {
    let scale = f64::from(picture.width.max(picture.height)) / f64::from(SIDE);
    let side = |length: u32| ((f64::from(length) / scale.max(1.0)) as u32).max(1);
    let (width, height) = (side(picture.width), side(picture.height));
    let range = |at: u32, new: u32, old: u32| {
        let begin = u64::from(at) * u64::from(old) / u64::from(new);
        let end = (u64::from(at + 1) * u64::from(old) / u64::from(new)).max(begin + 1);
        begin as usize..end as usize
    };
    let mut pixels = Vec::new();
    for y in 0..height {
        for x in 0..width {
            let (mut sum, mut count) = ([0u64; 3], 0);
            for row in range(y, height, picture.height) {
                for column in range(x, width, picture.width) {
                    let pixel = picture.pixels[row * picture.width as usize + column];
                    sum.iter_mut().zip(pixel).for_each(|(sum, part)| *sum += u64::from(part));
                    count += 1;
                }
            }
            pixels.push(sum.map(|sum| (sum / count) as u8));
        }
    }
    Picture { width, height, pixels }
}

/// The task: one image from a file to a file.
fn thumbnail((from, to): (PathBuf, PathBuf)) -> Result<(), String> {
    let small = shrink(&read(&from)?);
    write(&to, &small).map_err(|error| format!("{}: {error}", to.display()))
}

/// Images to work with, the last one cut off in the middle.
fn draw_some(folder: &Path) -> Result<(), Box<dyn Error>> {
    const COUNT: u32 = 40;
    for n in 0..COUNT {
        let (width, height) = (600 + 10 * n, 500);
        let pixel = |at: u32| {
            let (x, y) = (at % width, at / width);
            [(x * 255 / width) as u8, (y * 255 / height) as u8, (x * y / (n + 1)) as u8]
        };
        let picture = Picture { width, height, pixels: (0..width * height).map(pixel).collect() };
        write(&folder.join(format!("picture-{n:02}.png")), &picture)?;
    }
    let last = folder.join(format!("picture-{:02}.png", COUNT - 1));
    let bytes = fs::read(&last)?;
    Ok(fs::write(last, &bytes[..bytes.len() / 2])?)
}

fn progress(done: usize, of: usize) {
    let filled = done * 40 / of.max(1);
    print!("\r[{}{}] {done}/{of}", "█".repeat(filled), "·".repeat(40 - filled));
    let _ = std::io::stdout().flush();
}

/// Kills a worker every now and then, until told to stop.
fn kill_workers(pool: &Pool, stop: &AtomicBool, kills: &AtomicUsize) {
    let mut turn = 0;
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(25));
        let workers = pool.workers();
        let Some(worker) = workers.get(turn % workers.len().max(1)) else { continue };
        // SAFETY: sends a signal to a process of this pool's.
        if unsafe { libc::kill(worker.pid.cast_signed(), libc::SIGKILL) } == 0 {
            kills.fetch_add(1, Ordering::Relaxed);
        }
        turn += 1;
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let (switches, folders): (Vec<_>, Vec<_>) =
        std::env::args().skip(1).partition(|argument| argument.starts_with("--"));
    if let Some(unknown) = switches.iter().find(|switch| *switch != "--kill-workers") {
        return Err(format!("there is no switch {unknown}; there is --kill-workers").into());
    }
    let own = std::env::temp_dir().join(format!("ropewalk-thumbnails-{}", std::process::id()));
    let from = match folders.first() {
        Some(folder) => PathBuf::from(folder),
        None => {
            fs::create_dir_all(own.join("pictures"))?;
            draw_some(&own.join("pictures"))?;
            own.join("pictures")
        }
    };
    let to = folders.get(1).map_or_else(|| own.join("thumbnails"), PathBuf::from);
    fs::create_dir_all(&to)?;
    let mut jobs = Vec::new();
    for entry in fs::read_dir(&from)? {
        let path = entry?.path();
        if let (Some(name), true) = (path.file_name(), path.extension().is_some_and(|end| end == "png")) {
            jobs.push((path.clone(), to.join(name)));
        }
    }
    jobs.sort();

    let count = jobs.len();
    // An image can be made small twice without harm, so a task whose worker is killed is tried again.
    let pool = Pool::builder(thread::available_parallelism()?.get()).name("resize").retries(100).build()?;
    let began = Instant::now();
    let (stop, kills) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut failures = Vec::new();
    thread::scope(|scope| {
        if !switches.is_empty() {
            scope.spawn(|| kill_workers(&pool, &stop, &kills));
        }
        for (done, result) in pool.imap_unordered(thumbnail, jobs).enumerate() {
            match result {
                Ok(Ok(())) => {}
                Ok(Err(text)) => failures.push(text),
                Err(error @ TaskError::WorkerDied { .. }) => {
                    failures.push(format!("the decoder crashed: {error}"))
                }
                Err(error) => failures.push(error.to_string()),
            }
            progress(done + 1, count);
        }
        stop.store(true, Ordering::Relaxed);
    });
    pool.close();
    pool.join()?;
    println!("\n{} thumbnails in {} ({:.0?})", count - failures.len(), to.display(), began.elapsed());
    for failure in &failures {
        println!("failed: {failure}");
    }
    if !switches.is_empty() {
        println!("workers killed meanwhile: {}", kills.load(Ordering::Relaxed));
    }
    if folders.is_empty() {
        fs::remove_dir_all(&own)?;
    }
    Ok(())
}
