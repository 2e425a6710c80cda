//! What reading and drawing a large result costs: 60 cases of 600 s, made up, the best and the median of some rounds.
//! `cargo run --release -p lastmile-reports --example render_cost -- [FOLDER]`; the folder keeps the files.

#[path = "../tests/sample/mod.rs"]
mod sample;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use lastmile_reports::{html, store};

const ROUNDS: usize = 9;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let kept = std::env::args().nth(1).map(PathBuf::from);
    let folder = kept
        .clone()
        .unwrap_or_else(|| std::env::temp_dir().join(format!("lastmile-render-cost-{}", std::process::id())));
    std::fs::create_dir_all(&folder)?;
    let (result_path, page_path) = (folder.join("result.json"), folder.join("report.html"));
    store::write(&result_path, &sample::sweep(60, 600))?;
    let mut took = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let result = store::read(&result_path)?;
        let read = begun.elapsed();
        let begun = Instant::now();
        let page = html::render(&result);
        let rendered = begun.elapsed();
        let begun = Instant::now();
        store::write_text(&page_path, &page)?;
        let written = begun.elapsed();
        for (times, time) in took.iter_mut().zip([read, rendered, written]) {
            times.push(time);
        }
    }
    for (name, times) in ["read", "render", "write"].into_iter().zip(&mut took) {
        times.sort_unstable();
        println!("{name}: best {:?}, median {:?}", times[0], times[ROUNDS / 2]);
    }
    let sum = |place: usize| took.iter().map(|times| times[place]).sum::<Duration>();
    println!("all: best {:?}, median {:?}", sum(0), sum(ROUNDS / 2));
    for path in [&result_path, &page_path] {
        println!("{}: {} bytes", path.display(), std::fs::metadata(path)?.len());
    }
    if kept.is_none() {
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(())
}
