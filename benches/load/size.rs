//! Deliveries that one GitRepo follows among a number of them, with the index and without it.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time::sleep;

use crate::{
    SECRET,
    bare::{Bare, Target},
    counted::Counted,
    figures::{Deliveries, Size, Times},
    gitrepos::create,
    pushes::{Connection, push, request},
    runtime_api::Run,
    support::process::{cpu, resident},
    support::{function::Function, lambda::FrontDoor, space::Space},
};

/// How many deliveries, and as many bare patches, are timed.
const TIMED: usize = 300;
const TIMED_STATELESS: usize = 60;

/// Over how many requests and bytes are counted.
const COUNTED: usize = 20;

/// For what came before to be over.
const QUIET: Duration = Duration::from_secs(2);

/// Who takes pushes of one repository.
enum Service {
    Indexed(Function, Connection),
    Stateless(Run),
}

pub async fn measure(space: &Space, bare: &Bare, gitrepos: usize) -> Size {
    let repository = format!("shop-among-{gitrepos}");
    create(space, &repository, &repository).await;
    let name = format!("bare-among-{gitrepos}");
    let mut target = Target::new(create(space, &name, &name).await);

    let started = Instant::now();
    let function = Function::start(space, &[("RUST_LOG", "info")]).await;
    while function.request("GET", "/readyz").await.status != 200 {}
    let ready = started.elapsed();
    function.logs("the index is in use").await;
    let index_in_use = started.elapsed();
    sleep(QUIET).await;
    let resident_idle = resident(function.id());
    let connection = Connection::open(&function.url).await;
    let mut service = Service::Indexed(function, connection);
    let index = deliveries(space, bare, &mut target, &mut service, &repository, TIMED).await;
    // The scan that confirms that nobody follows is the most that a delivery holds.
    service.deliver("nobodys", &commit()).await;
    sleep(QUIET).await;
    let resident_indexed = resident(service.id());
    drop(service);

    let mut service = Service::Stateless(stateless(space, None).await);
    let stateless =
        deliveries(space, bare, &mut target, &mut service, &repository, TIMED_STATELESS).await;
    let resident_stateless = resident(service.id());
    println!("{gitrepos} GitRepos: {:?} / {:?}", index.times.p50, stateless.times.p50);
    Size {
        gitrepos,
        index,
        stateless,
        ready,
        index_in_use,
        resident_idle,
        resident: resident_indexed,
        resident_stateless,
    }
}

async fn deliveries(
    space: &Space,
    bare: &Bare,
    target: &mut Target,
    service: &mut Service,
    repository: &str,
    timed: usize,
) -> Deliveries {
    // Connections are made, and secrets read, before.
    service.deliver(repository, &commit()).await;
    bare.patch(target, &commit()).await;
    let (mut times, mut floor, mut on_cpu) = (Vec::new(), Vec::new(), Duration::ZERO);
    for _ in 0..timed {
        let before = cpu(service.id());
        times.push(service.deliver(repository, &commit()).await);
        on_cpu += cpu(service.id()).saturating_sub(before);
        floor.push(bare.patch(target, &commit()).await);
    }
    let (requests, sent, received) = counted(space, service, repository).await;
    Deliveries {
        times: Times::of(times),
        bare: Times::of(floor),
        cpu: on_cpu / u32::try_from(timed).unwrap(),
        requests,
        sent,
        received,
    }
}

/// What one delivery sends to the API server and gets from it, its part of the watch included: requests, and bytes of
/// another process of the same kind, all of whose connections are counted.
async fn counted(space: &Space, like: &Service, repository: &str) -> (f64, u64, u64) {
    let counted = Counted::before(space).await;
    let mut service = match like {
        Service::Indexed(..) => {
            let kubeconfig = counted.kubeconfig.to_str().unwrap();
            let variables = [("RUST_LOG", "info"), ("KUBECONFIG", kubeconfig)];
            let function = Function::start(space, &variables).await;
            function.logs("the index is in use").await;
            let connection = Connection::open(&function.url).await;
            Service::Indexed(function, connection)
        }
        Service::Stateless(_) => Service::Stateless(stateless(space, Some(&counted)).await),
    };
    service.deliver(repository, &commit()).await;
    sleep(QUIET).await;
    let (requests, bytes) = (of_service(space), counted.bytes());
    for _ in 0..COUNTED {
        service.deliver(repository, &commit()).await;
    }
    // What the watch says of the last of them.
    sleep(QUIET / 4).await;
    let now = counted.bytes();
    let each = |now: u64, before: u64| (now - before) / COUNTED as u64;
    let requests = (of_service(space) - requests) as f64 / COUNTED as f64;
    (requests, each(now.0, bytes.0), each(now.1, bytes.1))
}

fn of_service(space: &Space) -> usize {
    let ours = |request: &&crate::support::space::ApiRequest| {
        request.user_agent.starts_with("fleet-webhook") && !request.uri.contains("watch=true")
    };
    space.requests().iter().filter(ours).count()
}

/// As Lambda runs it: nothing is kept but connections and the secret.
async fn stateless(space: &Space, counted: Option<&Counted>) -> Run {
    let kubeconfig = counted.map_or(&space.kubeconfig, |counted| &counted.kubeconfig);
    let variables = [
        ("KUBECONFIG", kubeconfig.to_str().unwrap()),
        ("FLEET_NAMESPACE", &space.fleet),
        ("EMBEDDED_METRICS", "off"),
    ];
    let program = Function::program();
    let mut run = Run::start(program.to_str().unwrap(), &variables).await;
    run.asked.recv().await.unwrap();
    run
}

impl Service {
    async fn deliver(&mut self, repository: &str, commit: &str) -> Duration {
        let body = push(&format!("acme/{repository}"), commit, 1024);
        match self {
            Self::Indexed(_, connection) => {
                let request = request(&body, SECRET);
                let started = Instant::now();
                let (status, answer) = connection.send(&request).await;
                let took = started.elapsed();
                assert_eq!(status, 200, "{answer}");
                took
            }
            Self::Stateless(run) => {
                let proof = crate::support::github::signature(SECRET, body.as_bytes());
                let headers = crate::support::github::headers(&proof);
                let event = FrontDoor::HttpApi.post(&headers, body.as_bytes(), false);
                let started = Instant::now();
                let (at, answer) = run.handle(&event).await;
                assert_eq!(answer["statusCode"], Value::from(200), "{answer}");
                at - started
            }
        }
    }

    fn id(&self) -> u32 {
        match self {
            Self::Indexed(function, _) => function.id(),
            Self::Stateless(run) => run.id(),
        }
    }
}

/// A commit that nobody announced before.
pub fn commit() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COMMITS: AtomicU64 = AtomicU64::new(2);
    format!("{:040x}", COMMITS.fetch_add(1, Ordering::Relaxed))
}
