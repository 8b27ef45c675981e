//! Prints an event of `events/`, signed now: `cargo run --example event gitlab-push | sam local invoke --event -`.

#[path = "../tests/support/events.rs"]
mod events;

use std::{env, process::ExitCode};

use jiff::Timestamp;

fn main() -> ExitCode {
    let all = events::Event::all();
    let wanted = env::args().nth(1).unwrap_or_default();
    let wanted = wanted.trim_end_matches(".json");
    let Some(event) = all.iter().find(|event| event.name == wanted) else {
        let names: Vec<&str> = all.iter().map(|event| event.name.as_str()).collect();
        eprintln!("name one of these: {}", names.join(", "));
        return ExitCode::from(2);
    };
    println!("{:#}", event.signed_at(Timestamp::now()).json);
    ExitCode::SUCCESS
}
