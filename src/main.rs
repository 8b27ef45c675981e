//! Reads the configuration, puts the parts together, and hands them to the driver.

use std::{
    env, fs,
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::Context as _;
#[cfg(any(feature = "lambda", feature = "knative"))]
use fleet_webhook::adapter;
use fleet_webhook::{
    arguments::{self, About, Command},
    assembly::Assembly,
    config::{Config, Platform},
    explain::{Asked, Explanation},
    ping::Ping,
    restore_polling::Restored,
    telemetry::{self, LogFormat},
};
use tokio::runtime::{Builder, Runtime};

/// What is returned for arguments or a configuration that cannot be used.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments = env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    let done = match Command::parse(arguments) {
        Ok(Command::Help) => return say(&arguments::help()),
        Ok(Command::Version) => return say(&arguments::version()),
        Ok(Command::Explain { about, json }) => {
            let explained = Config::from_env().map_err(Into::into);
            match explained.and_then(|config| explain(&config, &about, json)) {
                Ok(code) => return code,
                Err(error) => Err(error),
            }
        }
        Ok(Command::Ping { url, secret_file }) => match ping(&url, secret_file) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Ok(Command::RestorePolling { dry_run }) => {
            let restored = Config::from_env().map_err(Into::into);
            match restored.and_then(|config| restore_polling(&config, dry_run)) {
                Ok(code) => return code,
                Err(error) => Err(error),
            }
        }
        Ok(Command::Serve) => {
            Config::from_env().map_err(Into::into).and_then(|config| run(&config))
        }
        Err(unknown) => Err(unknown.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fleet-webhook: {error:#}");
            ExitCode::from(USAGE)
        }
    }
}

/// Says something that was asked for; a reader who goes away has heard enough.
fn say(text: &str) -> ExitCode {
    let _ = io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

#[tokio::main]
async fn explain(config: &Config, about: &About, json: bool) -> anyhow::Result<ExitCode> {
    telemetry::init(telemetry::log_filter("warn")?, LogFormat::Text);
    // Fails only if there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let asked = match about {
        About::File(name) if name == "-" => Asked::event(&io::read_to_string(io::stdin())?)?,
        About::File(name) => Asked::event(&fs::read_to_string(name).context(name.clone())?)?,
        About::Push { repo, git_ref, commit } => Asked::supposed(repo, git_ref, commit.as_deref())?,
    };
    let destination = Box::pin(Assembly::for_a_question(config)).await?;
    let receiver = destination.receiver().context("there is no cluster to ask")?;
    let secret = config.global_secret.to_string();
    let explanation = Box::pin(Explanation::new(receiver, &asked, &secret)).await;
    say(&match json {
        true => serde_json::to_string_pretty(&explanation)? + "\n",
        false => explanation.to_string(),
    });
    Ok(ExitCode::from(explanation.exit_code()))
}

#[tokio::main]
async fn ping(url: &str, secret_file: Option<String>) -> anyhow::Result<ExitCode> {
    // Fails only if there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = url.parse().with_context(|| format!("{url:?} is no URL"))?;
    let key = match secret_file {
        None => Err("no --secret-file is named".to_owned()),
        Some(file) => match fs::read(&file) {
            Ok(key) => Ok(key),
            // In a pod, a secret or a key of it that is not there is a file that is not there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(format!("there is no file {file}"))
            }
            Err(error) => return Err(error).context(file),
        },
    };
    let ping = Ping::send(url, key).await;
    say(&ping.to_string());
    Ok(ExitCode::from(ping.exit_code()))
}

#[tokio::main]
async fn restore_polling(config: &Config, dry_run: bool) -> anyhow::Result<ExitCode> {
    telemetry::init(telemetry::log_filter("warn")?, LogFormat::Text);
    // Fails only if there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let destination = Box::pin(Assembly::for_a_question(config)).await?;
    let cluster = destination.cluster().context("there is no cluster to ask")?;
    let restored = Box::pin(Restored::new(cluster, &config.gitrepo_namespaces, dry_run)).await;
    say(&restored.to_string());
    Ok(ExitCode::from(restored.exit_code()))
}

fn run(config: &Config) -> anyhow::Result<()> {
    runtime(config.platform)?.block_on(serve(config))
}

/// On one thread: a delivery waits far more than it works, and threads that wake each other take more time on a CPU than
/// its work does. What works for long does so beside it: lists on threads of their own, and what is large `aside`. On
/// Lambda, where one delivery comes at a time, it is the process's own thread.
fn runtime(platform: Platform) -> io::Result<Runtime> {
    let mut builder = match platform {
        Platform::Lambda => Builder::new_current_thread(),
        Platform::Http => Builder::new_multi_thread(),
    };
    builder.worker_threads(1).enable_all().build()
}

async fn serve(config: &Config) -> anyhow::Result<()> {
    let filter = telemetry::log_filter(&config.log_filter)?;
    if telemetry::silences_all(&filter) {
        // The log would not show it.
        eprintln!(
            "fleet-webhook: RUST_LOG is {:?}; it shows nothing of fleet_webhook, errors neither",
            config.log_filter
        );
    }
    telemetry::init(filter, config.log_format);
    for (name, meant) in Config::misspelt() {
        tracing::warn!(name, meant, "there is no such variable, so it changes nothing");
    }
    // Fails only if there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let assembly = Box::pin(Assembly::new(config)).await?;
    match config.platform {
        #[cfg(feature = "lambda")]
        Platform::Lambda => {
            let announced = assembly.announce();
            let served = Box::pin(adapter::lambda::serve(assembly.service, announced)).await;
            served.map_err(|error| anyhow::anyhow!(error))
        }
        #[cfg(feature = "knative")]
        Platform::Http => {
            use adapter::knative::{self, Listeners, stop_signal};
            // From now on a signal to stop is not lost, and probes are answered, however slow the cluster is.
            let stop = stop_signal(config.shutdown_delay)?;
            let listeners = Listeners::bind(config.host, config.port, config.metrics_port).await?;
            let announced = tokio::spawn(assembly.announce());
            assembly.start_pulling();
            let serve = knative::serve(listeners, assembly.service, assembly.index, stop);
            let served = Box::pin(serve).await;
            announced.abort();
            Ok(served?)
        }
        #[cfg(not(all(feature = "lambda", feature = "knative")))]
        _ => {
            drop(assembly);
            anyhow::bail!(
                "this build has no adapter for this platform: it lacks the feature knative or lambda"
            )
        }
    }
}
