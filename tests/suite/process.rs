//! The program as a process: what it says and how it ends where it cannot start, and that it stops when it is told to.

use std::{
    ffi::OsStr,
    fs,
    io::Read as _,
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    api_server::Fault, function::Function, kubeconfig::SilentServer, space::Space,
};

/// How a program ended.
#[derive(Debug, PartialEq, Eq)]
struct Ended {
    code: Option<i32>,
    /// What it wrote to the standard error.
    said: String,
}

impl Ended {
    /// The one line that it said, and that it is for whoever started it to put right.
    fn usage(&self) -> &str {
        assert_eq!(self.code, Some(2), "{self:?}");
        let line = self.said.strip_suffix('\n').unwrap_or_else(|| panic!("no line: {self:?}"));
        assert!(!line.is_empty() && !line.contains('\n'), "one line: {self:?}");
        line
    }
}

/// Runs the program with these variables alone; it has to end by itself.
fn run<V: AsRef<OsStr>>(variables: &[(&str, V)]) -> Ended {
    run_with(&[], variables).0
}

/// The same with arguments; gives what it wrote to the standard output too.
fn run_with<V: AsRef<OsStr>>(arguments: &[&str], variables: &[(&str, V)]) -> (Ended, String) {
    let program = std::env::var_os("FLEET_WEBHOOK_PROGRAM")
        .unwrap_or_else(|| env!("CARGO_BIN_EXE_fleet-webhook").into());
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(variables.iter().map(|(name, value)| (name, value.as_ref())))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let deadline = Instant::now() + Duration::from_secs(20);
    let (mut said, mut printed) = (String::new(), String::new());
    while child.try_wait().expect("is ours").is_none() {
        if Instant::now() > deadline {
            child.kill().expect("is ours");
            child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            panic!("it does not end:\n{said}");
        }
        sleep(Duration::from_millis(10));
    }
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
    (Ended { code: child.wait().expect("is ours").code(), said }, printed)
}

/// A folder of its own, gone when the test is over.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("fleet-webhook-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Writes a file; gives its path.
    fn file(&self, name: &str, contents: &str) -> String {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, contents).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_variable_that_cannot_be_used_ends_it_with_one_line_that_names_it() {
    for (variable, value) in [
        ("HOST", "localhost"),
        ("PORT", "eighty"),
        ("PORT", "65536"),
        ("METRICS_PORT", "-1"),
        ("FLEET_NAMESPACE", "Fleet System"),
        ("WEBHOOK_SECRET_NAME", "a/b"),
        ("SECRET_CACHE_TTL", "a minute"),
        ("LOOKUP_CACHE_TTL", "-10s"),
        ("ROTATION_WINDOW", "1d"),
        ("UNSIGNED_DELIVERIES", "yes"),
        ("POLLING_INTERVAL", "never"),
        ("GITREPO_NAMESPACES", "team-a,Team B"),
        ("GITREPO_NAMESPACES", ","),
        ("MAX_BODY_BYTES", "0"),
        ("MAX_BODY_BYTES", "25MB"),
        ("DEADLINE", "4.5"),
        ("DEADLINE", "0s"),
        ("K_SINK", "broker"),
        ("RUST_LOG", "fleet_webhook=loud"),
        ("RUST_LOG", "fleet=,,"),
        ("LOG_FORMAT", "xml"),
    ] {
        let ended = run(&[(variable, value)]);
        let line = ended.usage();
        assert!(line.starts_with(&format!("fleet-webhook: {variable} is ")), "{line}");
        assert!(line.contains("; it takes "), "{line}");
        // What it held may be a password in a URL.
        assert!(line.contains(value) || variable == "K_SINK", "{line}");
    }
}

#[test]
fn it_says_how_it_is_used_and_which_version_it_is() {
    let none: [(&str, &str); 0] = [];
    let (ended, help) = run_with(&["--help"], &none);
    assert_eq!((ended.code, ended.said.as_str()), (Some(0), ""), "{ended:?}");
    for line in ["usage: fleet-webhook", "  PORT ", "  POLLING_INTERVAL ", "(default: 1h)"] {
        assert!(help.contains(line), "{line} is not in\n{help}");
    }
    let (ended, version) = run_with(&["--version"], &none);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(version, concat!("fleet-webhook ", env!("CARGO_PKG_VERSION"), "\n"));
    let (ended, _) = run_with(&["--port", "80"], &none);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.said.contains("\"--port\"") && ended.said.contains("usage:"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_it_is_set_to_is_in_one_line_without_passwords_and_what_is_misspelt_is_warned_of() {
    let space = Space::embedded().await;
    let variables = [
        ("POLING_INTERVAL", "2h"),
        ("DEADLINE", "4s"),
        ("HTTPS_PROXY", "http://me:hunter2@proxy.example:3128"),
        ("NO_PROXY", "127.0.0.1,,localhost"),
    ];
    let function = Function::start(&space, &variables).await;
    function.logs("\"starting\"").await;

    let log = function.log();
    let lines: Vec<Value> =
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let start = lines.iter().find(|line| line["message"] == "starting").unwrap();
    let settings = start["settings"].as_str().unwrap();
    for setting in ["DEADLINE=4s", "POLLING_INTERVAL=1h", "HTTPS_PROXY=http://proxy.example:3128/"]
    {
        assert!(settings.contains(setting), "{setting} is not in {settings}");
    }
    assert_eq!(start["version"], env!("CARGO_PKG_VERSION"));
    let warned: Vec<_> = lines.iter().filter(|line| line["meant"].is_string()).collect();
    let [warned] = warned[..] else { panic!("{warned:?}") };
    assert_eq!((&warned["level"], &warned["name"]), (&json!("WARN"), &json!("POLING_INTERVAL")));
    assert_eq!(warned["meant"], "POLLING_INTERVAL");
    assert!(!log.contains("hunter2"), "{log}");
}

#[test]
fn a_filter_that_shows_nothing_of_it_is_said_all_the_same() {
    for (filter, is_said) in [("kube=debug", true), ("error", false)] {
        let variables = [("RUST_LOG", filter), ("KUBECONFIG", "/nowhere/kubeconfig")];
        let ended = run(&variables);
        assert_eq!(ended.said.contains("RUST_LOG is"), is_said, "{ended:?}");
    }
}

#[test]
fn a_value_that_is_no_text_does_not_count_as_unset() {
    for variable in ["GITREPO_NAMESPACES", "UNSIGNED_DELIVERIES", "WEBHOOK_SECRET_NAME"] {
        let ended = run(&[(variable, OsStr::from_bytes(b"\xff"))]);
        assert!(ended.usage().contains(variable), "{ended:?}");
    }
}

#[test]
fn a_password_in_a_url_is_not_shown() {
    let ended = run(&[("K_SINK", "ftp://user:hunter2@sink")]);
    assert!(ended.usage().starts_with("fleet-webhook: K_SINK is "), "{ended:?}");
    assert!(!ended.said.contains("hunter2"), "{ended:?}");
}

#[test]
fn two_ways_to_the_cluster_end_it_with_one_line_that_names_them() {
    let ended = run(&[("KUBECONFIG", "/kubeconfig"), ("EKS_CLUSTER_NAME", "prod")]);
    let line = ended.usage();
    assert!(line.contains("EKS_CLUSTER_NAME") && line.contains("KUBECONFIG"), "{line}");
}

#[test]
fn without_any_cluster_it_says_what_to_set_and_where_to_look_around() {
    let home = Folder::new("home");
    let ended = run(&[("HOME", home.0.as_os_str())]);
    let line = ended.usage();
    assert!(line.contains("KUBECONFIG"), "{line}");
    assert!(line.contains("cargo run --example quickstart"), "{line}");
}

#[test]
fn a_kubeconfig_that_is_not_there_is_named() {
    let ended = run(&[("KUBECONFIG", "/nowhere/kubeconfig")]);
    let line = ended.usage();
    assert!(line.contains("KUBECONFIG") && line.contains("/nowhere/kubeconfig"), "{line}");
}

/// A kubeconfig with a token or a key, and a mistake beside it.
const MISTAKES: [(&str, &str); 4] = [
    ("a list that does not end", "users: [{ name: me, user: { token: hunter2 }"),
    ("a tab", "users:\n- name: me\n  user:\n    token: hunter2\n\tusername: me\n"),
    ("a list where a text belongs", "users:\n- name: me\n  user:\n    token: [hunter2]\n"),
    ("a text where a list belongs", "users: hunter2\n"),
];

#[test]
fn a_kubeconfig_with_a_mistake_ends_it_with_one_line_that_shows_nothing_of_it() {
    let folder = Folder::new("mistakes");
    for (mistake, contents) in MISTAKES {
        let path = folder.file("kubeconfig", contents);
        let named = run(&[("KUBECONFIG", path)]);
        let default_path = folder.file(".kube/config", contents);
        let default = run(&[("HOME", folder.0.as_os_str())]);
        fs::remove_file(default_path).unwrap();
        for ended in [named, default] {
            let line = ended.usage();
            assert!(line.contains("KUBECONFIG"), "{mistake}: {line}");
            assert!(!line.contains("hunter2"), "{mistake}: {line}");
        }
    }
}

/// A kubeconfig that is one, of this cluster and this user.
fn kubeconfig(cluster: &str, user: &str) -> String {
    format!(
        "current-context: c\ncontexts:\n- name: c\n  context: {{cluster: k, user: me}}\n\
         clusters:\n- name: k\n  cluster: {{server: 'https://127.0.0.1:9'{cluster}}}\n\
         users:\n- name: me\n  user: {user}\n"
    )
}

#[test]
fn a_cluster_whose_certificate_nobody_checks_is_refused() {
    let folder = Folder::new("insecure");
    let config = kubeconfig(", insecure-skip-tls-verify: true", "{token: hunter2}");
    let ended = run(&[("KUBECONFIG", folder.file("kubeconfig", &config))]);
    assert!(ended.usage().contains("insecure-skip-tls-verify"), "{ended:?}");
    assert!(!ended.said.contains("hunter2"));
}

#[test]
fn credentials_that_make_no_client_end_it_with_one_line_that_shows_nothing_of_them() {
    let folder = Folder::new("credentials");
    let plugin = |script: &str| {
        format!(
            "{{exec: {{apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, \
             command: sh, args: [-c, \"{script}\"], env: [{{name: KEY, value: hunter2}}]}}}}"
        )
    };
    for (user, said) in [
        ("{client-certificate-data: aHVudGVyMg==, client-key-data: hunter2}".to_owned(), "base64"),
        ("{tokenFile: /nowhere/token}".to_owned(), "/nowhere/token"),
        (plugin("echo hunter2; exit 3"), "exit status: 3"),
        (plugin("echo status: [hunter2"), "printed no ExecCredential"),
    ] {
        let path = folder.file("kubeconfig", &kubeconfig("", &user));
        let ended = run(&[("KUBECONFIG", path.as_str()), ("PATH", "/usr/bin:/bin")]);
        let line = ended.usage();
        assert!(line.starts_with(&format!("fleet-webhook: KUBECONFIG is \"{path}\"; ")), "{line}");
        assert_eq!(line.matches(said).count(), 1, "{said}: {line}");
        assert!(!line.contains("hunter2"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_start_line_says_which_cluster_which_secret_and_whether_it_is_there() {
    let forbidden = Fault::always(Method::GET, "/secrets/", 403);
    let broken = Fault::always(Method::GET, "/secrets/", 500);
    for (is_there, fault, said) in [
        (true, None, "yes"),
        (false, None, "no"),
        (true, Some(forbidden), "may not be read"),
        (true, Some(broken), "cannot be had"),
    ] {
        let space = Space::embedded().await;
        if is_there {
            space.secret(&space.fleet, "webhook", json!({ "github": "hunter2" })).await;
        }
        if let Some(fault) = fault {
            space.fail(fault);
        }
        let function = Function::start(&space, &[("WEBHOOK_SECRET_NAME", "webhook")]).await;
        function.logs("\"starting\"").await;

        let log = function.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let starts: Vec<_> = lines.filter(|line| line["message"] == "starting").collect();
        let [start] = starts.as_slice() else { panic!("{log}") };
        let kubeconfig: Value =
            serde_json::from_str(&fs::read_to_string(&space.kubeconfig).unwrap()).unwrap();
        let server = kubeconfig["clusters"][0]["cluster"]["server"].as_str().unwrap();
        assert_eq!(start["level"], "INFO");
        assert_eq!(start["cluster"].as_str().unwrap().trim_end_matches('/'), server);
        assert_eq!(start["secret"], format!("{}/webhook", space.fleet));
        assert!(start["secret.present"].as_str().unwrap().starts_with(said), "{start}");
        assert!(!log.contains("hunter2"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_that_silences_everything_is_said_where_it_does_not_count() {
    let space = Space::embedded().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let shows_nothing = "it shows nothing of fleet_webhook, errors neither";
    let takes = "it takes a level or target=level pairs";
    for (filter, says) in
        [("kube=info", Some(shows_nothing)), ("fleet=,,", Some(takes)), ("info", None)]
    {
        // It ends at the port, behind the configuration.
        let variables = [
            ("KUBECONFIG", space.kubeconfig.to_str().unwrap()),
            ("HOST", "127.0.0.1"),
            ("PORT", port.as_str()),
            ("RUST_LOG", filter),
        ];
        let ended = tokio::task::block_in_place(|| run(&variables));
        for said in [shows_nothing, takes] {
            assert_eq!(ended.said.contains(said), says == Some(said), "{filter}: {ended:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_global_secret_that_will_be_missed_is_warned_of_at_the_start_with_the_command_that_makes_it()
 {
    for (variable, is_there, warned) in [
        (("UNSIGNED_DELIVERIES", "reject"), false, Some("refused (401)")),
        (("WEBHOOK_SECRET_NAME", "gitjob-webhook"), false, Some("unavailable (503)")),
        (("UNSIGNED_DELIVERIES", "accept"), false, None),
        (("UNSIGNED_DELIVERIES", "reject"), true, None),
    ] {
        let space = Space::embedded().await;
        if is_there {
            space.global_secret(json!({ "github": "hunter2" })).await;
        }
        let function = Function::start(&space, &[variable]).await;
        // Comes behind the line of the start, and the stop behind both.
        function.logs("\"starting\"").await;
        function.request("GET", "/healthz").await;
        if warned.is_some() {
            function.logs("there is no webhook secret").await;
        }
        function.signal("TERM");
        function.logs("no longer ready").await;
        let log = function.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let is_warning = |line: &Value| {
            line["message"].as_str().is_some_and(|it| it.starts_with("there is no webhook secret"))
        };
        let warnings: Vec<_> = lines.filter(is_warning).collect();
        assert_eq!(warnings.len(), usize::from(warned.is_some()), "{variable:?} {log}");
        if let (Some(what), [warning]) = (warned, warnings.as_slice()) {
            assert_eq!(warning["level"], "WARN");
            assert!(warning["message"].as_str().unwrap().contains(what), "{warning}");
            assert_eq!(warning["secret"], format!("{}/gitjob-webhook", space.fleet));
            let command = format!(
                "kubectl --namespace {} create secret generic gitjob-webhook ",
                space.fleet
            );
            assert!(warning["advice"].as_str().unwrap().starts_with(&command), "{warning}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_cluster_is_silent_it_lives_and_stops_when_it_is_told_to() {
    let (space, silent) = (Space::embedded().await, SilentServer::start());
    let folder = Folder::new("silent");
    let kubeconfig = folder.file("kubeconfig", &silent.kubeconfig());
    let mut function = Function::start(&space, &[("KUBECONFIG", &kubeconfig)]).await;

    let started = Instant::now();
    assert_eq!(function.request("GET", "/healthz").await.status, 200);
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    assert!(!function.log().contains("\"starting\""), "it knows nothing of the secret yet");
    function.signal("TERM");
    function.logs("no longer ready").await;
    assert_eq!(function.request("GET", "/healthz").await.status, 200);
    assert_eq!(function.request("GET", "/readyz").await.status, 503);

    assert_eq!(function.exit_code().await, Some(0), "{}", function.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_ends_it_at_once() {
    let space = Space::embedded().await;
    let mut function = Function::start(&space, &[]).await;
    let told = Instant::now();
    function.signal("INT");
    assert_eq!(function.exit_code().await, Some(0), "{}", function.log());
    assert!(told.elapsed() < Duration::from_secs(3), "{:?}", told.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_is_taken_is_named_with_its_variable() {
    let space = Space::embedded().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (variable, ports) in [("PORT", [port.as_str(), "0"]), ("METRICS_PORT", ["0", &port])] {
        let variables = [
            ("KUBECONFIG", space.kubeconfig.to_str().unwrap()),
            ("HOST", "127.0.0.1"),
            ("PORT", ports[0]),
            ("METRICS_PORT", ports[1]),
        ];
        let ended = tokio::task::block_in_place(|| run(&variables));
        // The index may have begun, and say that it ends.
        let line = ended.said.lines().last().unwrap_or_default();
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(line.starts_with(&format!("fleet-webhook: {variable} is {port}; ")), "{line}");
    }
}

#[test]
fn a_log_for_people_has_no_colours_where_no_terminal_shows_them() {
    let folder = Folder::new("colours");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let ended = run(&[
        ("KUBECONFIG", folder.file("kubeconfig", &kubeconfig("", "{token: t}")).as_str()),
        ("LOG_FORMAT", "text"),
        ("POLING_INTERVAL", "2h"),
        ("HOST", "127.0.0.1"),
        ("PORT", &taken.local_addr().unwrap().port().to_string()),
    ]);
    assert!(ended.said.contains(" WARN fleet_webhook: there is no such variable"), "{ended:?}");
    assert!(!ended.said.contains('\u{1b}'), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_serves_on_one_thread_however_many_the_machine_offers() {
    let space = Space::embedded().await;
    // Lists are parsed on threads of their own.
    space.fail(Fault::always(Method::GET, "gitrepos", 403));
    let function = Function::start(&space, &[("TOKIO_WORKER_THREADS", "4")]).await;
    assert_eq!(function.request("GET", "/healthz").await.status, 200);

    let threads = fs::read_dir(format!("/proc/{}/task", function.id())).unwrap().count();

    // The first one waits for the signal to stop; on the third the client was made, and it has nothing more to do.
    assert!(threads <= 3, "{threads} threads");
}
