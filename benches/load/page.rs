//! Writes the figures where people read them: the tables of `docs/measured.md` and the two plots beside it.

use std::{fmt::Write as _, fs, path::Path, process::Command, time::Duration};

use jiff::Timestamp;

use crate::{
    figures::{Burst, Deliveries, FanOut, Figures, Forged},
    plot,
};

/// Between these lines of the page is what a run writes.
const BEGIN: &str = "<!-- cargo bench --bench load writes from here … -->\n";
const END: &str = "<!-- … to here -->\n";

pub fn write(figures: &Figures) {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let page = fs::read_to_string(docs.join("measured.md")).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the page has a place for it");
    let (_, after) = rest.split_once(END).expect("the page has an end of it");
    let text = text(figures);
    println!("{text}");
    fs::write(docs.join("measured.md"), format!("{before}{BEGIN}\n{text}\n{END}{after}")).unwrap();
    fs::write(docs.join("measured-gitrepos.svg"), plot::gitrepos(figures)).unwrap();
    fs::write(docs.join("measured-forged.svg"), plot::forged(&figures.forged)).unwrap();
}

fn text(figures: &Figures) -> String {
    let mut text = format!("{}\n\n", machine());
    deliveries(&mut text, figures);
    memory(&mut text, figures);
    fan_out(&mut text, &figures.fan_out);
    forged(&mut text, &figures.forged);
    if let Some(burst) = &figures.burst {
        write_burst(&mut text, burst, figures.resident_after_flood);
    }
    text.trim_end().to_owned() + "\n"
}

/// Where and when, and of what.
fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches(['\t', ' ', ':']).to_owned();
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default().to_owned();
    let commit = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    let commit = commit.map(|output| output.stdout).unwrap_or_default();
    let commit = String::from_utf8_lossy(&commit).trim().to_owned();
    let day = Timestamp::now().strftime("%Y-%m-%d");
    // It may be of another commit, which only who named it knows.
    let program = match std::env::var_os("FLEET_WEBHOOK_PROGRAM") {
        Some(_) => "the program that FLEET_WEBHOOK_PROGRAM names",
        None => "the program as cargo bench builds it",
    };
    format!(
        "{day}, commit {commit}, {program}, {cores} cores of {model} which the API server and this run share (load {load} at the end)."
    )
}

fn deliveries(text: &mut String, figures: &Figures) {
    *text += "| among | way | a delivery, p50 / p95 / p99 | a bare patch, p50 / p95 / p99 | ratio of p50 | on a CPU | requests | bytes sent / received |\n";
    *text += "| --- | --- | --- | --- | --- | --- | --- | --- |\n";
    for size in &figures.sizes {
        for (way, it) in [("index", &size.index), ("stateless", &size.stateless)] {
            let Deliveries { times, bare, .. } = it;
            writeln!(
                text,
                "| {} | {way} | {} / {} / {} | {} / {} / {} | **{:.2}** | {} | {:.1} | {} / {} |",
                thousands(size.gitrepos),
                shown(times.p50),
                shown(times.p95),
                shown(times.p99),
                shown(bare.p50),
                shown(bare.p95),
                shown(bare.p99),
                ratio(times.p50, bare.p50),
                shown(it.cpu),
                it.requests,
                thousands(it.sent as usize),
                thousands(it.received as usize),
            )
            .unwrap();
        }
    }
    *text += "\n![Latency and requests against the number of GitRepos](measured-gitrepos.svg)\n\n";
}

fn memory(text: &mut String, figures: &Figures) {
    *text += "| GitRepos | from exec to ready / to the index in use | resident with the index / after a scan | resident stateless |\n";
    *text += "| --- | --- | --- | --- |\n";
    for size in &figures.sizes {
        writeln!(
            text,
            "| {} | {} / {} | {} / {} MiB | {} MiB |",
            thousands(size.gitrepos),
            shown(size.ready),
            shown(size.index_in_use),
            mib(size.resident_idle),
            mib(size.resident),
            mib(size.resident_stateless),
        )
        .unwrap();
    }
    *text += "\n";
}

fn fan_out(text: &mut String, fan_out: &[FanOut]) {
    *text += "| GitRepos on one repository | a delivery, p50 | the same patches bare, 16 at a time | ratio | on a CPU, for each GitRepo |\n";
    *text += "| --- | --- | --- | --- | --- |\n";
    for it in fan_out {
        writeln!(
            text,
            "| {} | {} | {} | **{:.2}** | {} |",
            it.gitrepos,
            shown(it.delivery),
            shown(it.bare),
            ratio(it.delivery, it.bare),
            shown(it.cpu / it.gitrepos as u32),
        )
        .unwrap();
    }
    *text += "\n";
}

fn forged(text: &mut String, forged: &Forged) {
    *text += "| a forged delivery of | on a CPU, its log line included | HMAC and parsing to nothing | ratio |\n";
    *text += "| --- | --- | --- | --- |\n";
    for body in &forged.bodies {
        writeln!(
            text,
            "| {} | {} | {} | {:.2} |",
            bytes(body.bytes),
            shown(body.cpu),
            shown(body.floor),
            ratio(body.cpu, body.floor),
        )
        .unwrap();
    }
    writeln!(
        text,
        "\n![CPU of a forged delivery against the size of its body](measured-forged.svg)\n\n\
         In a flood of forged deliveries of 1 KiB over 16 connections: {} a second, {} of CPU each. With a connection for each delivery: {} of CPU.",
        thousands(forged.rate as usize),
        shown(forged.cpu_in_a_flood),
        shown(forged.cpu_with_connection),
    )
    .unwrap();
}

fn write_burst(text: &mut String, burst: &Burst, after_flood: u64) {
    writeln!(
        text,
        "\n{} pushes of as many repositories at once, each on its own connection and followed by one GitRepo: {} of them \
         taken, all answered after {}, half of them after {}. At most {} MiB were resident; {} MiB after the flood before it.",
        thousands(burst.deliveries),
        if burst.accepted == burst.deliveries { "all".to_owned() } else { thousands(burst.accepted) },
        shown(burst.took),
        shown(burst.slowest.p50),
        mib(burst.resident),
        mib(after_flood),
    )
    .unwrap();
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

/// To two digits or so, in the unit that fits.
fn shown(time: Duration) -> String {
    let microseconds = time.as_secs_f64() * 1e6;
    match microseconds {
        0.0..100.0 => format!("{microseconds:.1} µs"),
        ..1_000.0 => format!("{microseconds:.0} µs"),
        ..10_000.0 => format!("{:.2} ms", microseconds / 1e3),
        ..1_000_000.0 => format!("{:.0} ms", microseconds / 1e3),
        _ => format!("{:.2} s", microseconds / 1e6),
    }
}

fn mib(kib: u64) -> String {
    format!("{:.1}", kib as f64 / 1024.0)
}

fn bytes(number: usize) -> String {
    let kib = number as f64 / 1024.0;
    match number {
        0..10_000 => format!("{kib:.1} KiB"),
        10_000..1_000_000 => format!("{kib:.0} KiB"),
        _ => format!("{:.0} MiB", kib / 1024.0),
    }
}

fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().collect();
    let groups: Vec<_> = groups.into_iter().map(String::from_utf8_lossy).collect();
    groups.join(",")
}
