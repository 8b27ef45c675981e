//! What a cold and a warm delivery cost: time, CPU, memory, requests.
//!
//!     cargo lambda build --release
//!     cargo test --test measure cold_start -- --ignored --nocapture

use std::{
    env, fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    runtime_api::Run,
    support::{
        github::{SECRET, headers, push, signature},
        https::Https,
        lambda::FrontDoor,
        moto::Moto,
        process::{cpu, resident},
        space::Space,
    },
};

const RUNS: usize = 30;

/// Where there is no such file, fewer are read.
const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures a release build: its first lines say how to run it"]
async fn measures_cold_and_warm_deliveries() {
    let (space, moto) = (Space::real().await, Moto::start().await);
    let binary = env::var("FLEET_WEBHOOK_BINARY").unwrap_or_else(|_| {
        format!("{}/target/lambda/fleet-webhook/bootstrap", env!("CARGO_MANIFEST_DIR"))
    });
    moto.create_secret("webhook", &json!({ "github": SECRET }).to_string()).await;
    space.gitrepo("simple", space.follows_main()).await;
    for other in 0..99 {
        let repo = format!("https://github.com/acme/other-{other}");
        space.gitrepo(&format!("other-{other}"), json!({ "repo": repo, "branch": "main" })).await;
    }
    let https = Https::before(&moto.url);
    let authorities = authorities(&https);
    let mut variables = moto.variables();
    variables.extend([
        ("KUBECONFIG", space.kubeconfig.to_str().unwrap()),
        ("WEBHOOK_SECRET_ID", "webhook"),
        ("ROTATION_WINDOW", "0s"),
        ("AWS_ENDPOINT_URL", &*https.url),
        ("SSL_CERT_FILE", authorities.to_str().unwrap()),
    ]);

    let (mut asked, mut asked_cpu, mut asked_memory) = (Vec::new(), Vec::new(), Vec::new());
    let (mut first, mut first_cpu, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    let mut warm = Vec::new();
    let mut requests = (0, 0);
    let runs = env::var("COLD_STARTS").map_or(RUNS, |number| number.parse().unwrap());
    for run in 0..runs {
        let mut function = Run::start(&binary, &variables).await;
        let at = function.asked.recv().await.unwrap();
        asked.push((at - function.started).as_secs_f64() * 1e3);
        asked_cpu.push(milliseconds(cpu(function.id())));
        asked_memory.push(resident(function.id()) as f64 / 1024.0);
        let before = Instant::now();
        let at = deliver(&mut function, &space, run * 2).await;
        first.push((at - before).as_secs_f64() * 1e3 + asked.last().unwrap());
        first_cpu.push(milliseconds(cpu(function.id())));
        let counted = (moto.requests(), space.requests().len());
        let before = Instant::now();
        let at = deliver(&mut function, &space, run * 2 + 1).await;
        warm.push((at - before).as_secs_f64() * 1e3);
        requests = (moto.requests() - counted.0, space.requests().len() - counted.1);
        memory.push(resident(function.id()) as f64 / 1024.0);
    }
    fs::remove_file(authorities).unwrap();
    let size = fs::metadata(&binary).unwrap().len();
    println!("{binary}: {size} bytes; {runs} runs, 100 GitRepos, median / 95th percentile");
    report("start to the first request for an event, ms", &mut asked);
    report("  CPU until then, ms", &mut asked_cpu);
    report("  resident memory then, MiB", &mut asked_memory);
    report("start to the first answer, with a secret and a patch over TLS, ms", &mut first);
    report("  CPU until then, ms", &mut first_cpu);
    report("a warm delivery, ms", &mut warm);
    report("resident memory after two deliveries, MiB", &mut memory);
    println!(
        "a warm delivery asks AWS {} times and the API server {} times",
        requests.0, requests.1
    );
}

/// The authority of moto's certificate among those of the system, as a function finds that of AWS's.
fn authorities(https: &Https) -> PathBuf {
    let file = std::env::temp_dir().join(format!("fleet-webhook-{}-all.pem", std::process::id()));
    let all =
        [SYSTEM_AUTHORITIES, https.authority()].map(|file| fs::read(file).unwrap_or_default());
    fs::write(&file, all.concat()).unwrap();
    file
}

/// Delivers a push of a new commit; gives when it was answered.
async fn deliver(function: &mut Run, space: &Space, number: usize) -> Instant {
    let mut payload = push(space, "refs/heads/main", &format!("{:040x}", number + 1));
    // Each begins where the one before ended, as Git's do: another process would wait for what is between.
    payload["before"] = format!("{number:040x}").into();
    let body = payload.to_string();
    let proof = signature(SECRET, body.as_bytes());
    let event = FrontDoor::HttpApi.post(&headers(&proof), body.as_bytes(), false);
    let (at, answer) = function.handle(&event).await;
    assert_eq!(answer["statusCode"], 200, "{answer}");
    assert!(answer["body"].as_str().unwrap().contains(r#""patched":1"#), "{answer}");
    at
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn report(what: &str, figures: &mut [f64]) {
    figures.sort_by(f64::total_cmp);
    let at = |part: f64| figures[((figures.len() - 1) as f64 * part).round() as usize];
    println!("{what}: {:.1} / {:.1}", at(0.5), at(0.95));
}
