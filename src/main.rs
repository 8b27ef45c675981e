//! Reads the configuration, puts the parts together, and hands them to the driver.

use std::process::ExitCode;

#[cfg(any(feature = "lambda", feature = "knative"))]
use fleet_webhook::adapter;
#[cfg(any(feature = "lambda", feature = "knative"))]
use fleet_webhook::config::Platform;
use fleet_webhook::{assembly::Assembly, config::Config, telemetry};

/// What is returned for a configuration that cannot be used.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let config = match Config::from_env() {
        Ok(config) => config,
        Err(error) => {
            eprintln!("fleet-webhook: {error}");
            return ExitCode::from(USAGE);
        }
    };
    match run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fleet-webhook: {error:#}");
            ExitCode::from(USAGE)
        }
    }
}

#[tokio::main]
async fn run(config: &Config) -> anyhow::Result<()> {
    telemetry::init(telemetry::log_filter(&config.log_filter)?, config.log_format);
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
