//! Crowds of senders that keep what they take: others are served meanwhile, and the end comes all the same.

use std::{io::ErrorKind::WouldBlock, time::Duration};

use futures::{
    future::join_all,
    stream::{self, StreamExt as _},
};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
    time::{Instant, sleep, timeout},
};

use crate::support::{
    crowd::{Crowd, is_taken, others},
    function::Function,
    github::{NEW, SECRET, headers, signed},
    sender::Sender,
    space::Space,
};

/// How many files a process may have open at first on many systems.
const DESCRIPTORS: u64 = 1_024;

/// After how long Gitea and Forgejo hang up.
const HANGS_UP: Duration = Duration::from_secs(5);

/// How many connections are a crowd, with some more; and how many are none yet.
const A_CROWD: usize = 400;
const NO_CROWD: usize = 256;

/// How many stop in a body or read no answer: so few that they are no crowd, in which everybody has less time.
const WITHOUT_A_CROWD: usize = 16;

async fn started(variables: &[(&str, &str)]) -> (Space, Function) {
    let _ = rlimit::increase_nofile_limit(8 * 1024);
    let space = Space::embedded().await;
    space.shop().await;
    let function = Function::start_with_descriptors(&space, variables, DESCRIPTORS).await;
    function.logs("the index is in use").await;
    (space, function)
}

/// A connection that asks for the figures, again and again, and reads no answer. They are the longest answer that there
/// is: on this machine itself the kernel keeps 2.6 MB for a connection before anybody notices.
async fn never_reads(address: String) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("a small buffer");
    let mut connection =
        socket.connect(address.parse().expect("is one")).await.expect("it listens");
    let asked = "GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n".repeat(1_000);
    let _ = timeout(Duration::from_secs(1), connection.write_all(asked.as_bytes())).await;
    connection
}

/// Whether the other side gives a connection up by itself, however busy the machine is; nothing is read from it.
async fn is_given_up(connection: &TcpStream) -> bool {
    let given_up = async {
        while !matches!(connection.try_write(b" "), Err(error) if error.kind() != WouldBlock) {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(Duration::from_secs(30), given_up).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_senders_that_send_no_body_or_half_of_one_keep_nobody_out() {
    let (space, function) = started(&[]).await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", function.id())).unwrap();
    let open_files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let soft: u64 = open_files.split_whitespace().nth(3).unwrap().parse().unwrap();
    assert!(soft > DESCRIPTORS, "{open_files}");

    let crowd = Crowd::of(2_000, &["", "{"], &function);
    sleep(Duration::from_secs(2)).await;
    let others = others(24, &function, &space).await;
    drop(crowd);

    assert!(others.iter().all(|(answer, _)| is_taken(answer)), "{others:?}");
    let soon = others.iter().filter(|(_, took)| *took < HANGS_UP).count();
    assert!(soon >= 20, "{soon} in time: {others:?}");
    assert!(!function.log().contains("cannot accept a connection"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stops_before_or_in_a_body_gives_his_place_back_long_before_the_deadline() {
    let (space, function) = started(&[("DEADLINE", "300s")]).await;
    let (body, proof) = signed(&space, SECRET, NEW);
    let (half, _) = body.split_at(body.len() / 2);
    let (headers, mut senders) = (headers(&proof), Vec::new());
    for sent in ["", half] {
        for _ in 0..WITHOUT_A_CROWD / 2 {
            let mut sender = Sender::announcing(&function, &headers, body.len()).await;
            sender.send(sent).await;
            senders.push(sender);
        }
    }

    let given_up = join_all(senders.iter_mut().map(async |sender| {
        let answer = sender.answer().await;
        (answer.status, sender.is_hung_up_on().await)
    }));

    let given_up = timeout(Duration::from_secs(60), given_up).await.expect("each is answered");
    assert_eq!(given_up, [(408, true); WITHOUT_A_CROWD]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_crowd_whose_bodies_come_in_drops_places_are_given_back_until_it_is_none() {
    let (_space, function) = started(&[("DEADLINE", "300s")]).await;
    let drips = (0..A_CROWD).map(async |_| {
        let mut sender = Sender::announcing(&function, &headers(""), 10_000).await;
        while sender.is_read(" ").await {
            sleep(Duration::from_millis(500)).await;
        }
    });

    let drips = stream::iter(drips).buffer_unordered(A_CROWD);
    let given_up = drips.take(A_CROWD - NO_CROWD).count();
    timeout(Duration::from_secs(60), given_up).await.expect("places are given back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_never_reads_his_answers_gives_his_place_back_and_holds_up_no_end() {
    let (_space, mut function) = started(&[("SHUTDOWN_DELAY", "1s")]).await;
    let figures = format!("127.0.0.1:{}", function.figures_port());
    let never_read = || join_all((0..WITHOUT_A_CROWD).map(|_| never_reads(figures.clone())));

    let first = never_read().await;
    let given_up = join_all(first.iter().map(is_given_up)).await;
    assert_eq!(given_up, [true; WITHOUT_A_CROWD]);

    let second = never_read().await;
    let told = Instant::now();
    function.signal("TERM");
    assert_eq!(function.exit_code().await, Some(0), "{}", function.log());
    let took = told.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
    drop(second);
}
