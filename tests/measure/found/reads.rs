//! A5 to A8 and A11: pushes that are lost where a read, a connection or a namespace fails.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::sleep;

use super::{commit, following, line, push, shop, started};
use crate::support::{
    between::Between, github::OLD, real_cluster::RealCluster, silent::Silent, space::Space,
};

/// How many pushes come one after another, and how often something happens to the connections.
const PUSHES: usize = 20;
const TIMES: usize = 3;

/// How many others ask a busy API server.
const OTHERS: usize = 4;

/// How many GitRepos a push has where many connections are open.
const MANY: usize = 16;

/// How old the way to the cluster has to be to be looked for again, and a little more.
const LOOK_AGAIN: Duration = Duration::from_millis(10_100);

const UNCACHED: (&str, &str) = ("SECRET_CACHE_TTL", "0s");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures for minutes: found.rs says how to run it"]
async fn measures_pushes_that_a_busy_api_server_refuses() {
    // With priority and fairness it would let wait and not refuse.
    const FEW: &[&str] = &["--max-requests-inflight=2", "--enable-priority-and-fairness=false"];
    let cluster =
        tokio::task::spawn_blocking(|| &*Box::leak(Box::new(RealCluster::start_with("busy", FEW))));
    let cluster = cluster.await.expect("it starts");
    let space = Space::on_real(cluster).await;
    space.github_secret().await;
    following(&space, "shop").await;
    let function = started(&space, &[UNCACHED]).await;
    // Others, who take what the server can do at once for most of the time.
    let others = join_all((0..OTHERS).map(|_| async {
        loop {
            let _ = space.read_as("/api/v1/namespaces", false).await;
            sleep(Duration::from_millis(2)).await;
        }
    }));
    let pushes = async {
        let mut lost = 0;
        for number in 0..PUSHES {
            let answer = push(&function, &space, &commit(number), &commit(number + 1)).await;
            lost += usize::from(answer.status == 503);
        }
        lost
    };
    let lost = tokio::select! { lost = pushes => lost, _ = others => unreachable!() };
    let figures = function.figures().await;
    let refused = figures.lines().filter(|line| line.contains(r#"code="429""#));
    let refused = refused.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok());
    let what = "A5: kube-apiserver with --max-requests-inflight=2, each push reads all anew, 503";
    let now = format!("{lost} of {PUSHES}, of whose requests {} were 429", refused.sum::<u64>());
    line(what, "14 of 20", &now);
    cluster.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures for minutes: found.rs says how to run it"]
async fn measures_pushes_that_dead_connections_cost() {
    let space = shop().await;
    let silent = Silent::start(&space).await;
    let variables = [("KUBECONFIG", &*silent.kubeconfig), UNCACHED];
    let function = started(&space, &variables).await;
    let (mut lost, mut number) = (0, 0);
    for _ in 0..TIMES {
        push(&function, &space, &commit(number), &commit(number + 1)).await;
        silent.swallow();
        for number in number + 1..number + 3 {
            let answer = push(&function, &space, &commit(number), &commit(number + 1)).await;
            lost += usize::from(answer.outcome() != "accepted");
        }
        number += 3;
    }
    let what = "A6: two pushes after all connections died unheard, lost";
    line(what, "2 of 2", &format!("{lost} of {}", 2 * TIMES));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures for minutes: found.rs says how to run it"]
async fn measures_pushes_that_a_server_out_of_service_refuses() {
    let space = Space::real().await;
    space.github_secret().await;
    for number in 0..MANY {
        following(&space, &format!("shop-{number}")).await;
    }
    let between = Between::start(&space).await;
    let function = started(&space, &[("KUBECONFIG", &between.kubeconfig)]).await;
    let mut lost = 0;
    for number in 0..TIMES {
        push(&function, &space, &commit(2 * number), &commit(2 * number + 1)).await;
        sleep(LOOK_AGAIN).await;
        between.disown();
        push(&function, &space, &commit(2 * number + 1), &commit(2 * number + 2)).await;
        for name in 0..MANY {
            let at = space.commit(&format!("shop-{name}")).await;
            lost += usize::from(at.as_deref() != Some(&commit(2 * number + 2)));
        }
    }
    let what = "A7: 401 on open connections, GitRepos to which the next push was not announced";
    line(what, "each, for ever", &format!("{lost} of {}", MANY * TIMES));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures for minutes: found.rs says how to run it"]
async fn measures_unsigned_pushes_while_the_global_secret_is_gone() {
    let name: &[(&str, &str)] = &[("WEBHOOK_SECRET_NAME", "gitjob-webhook")];
    for (how, variables) in [("as shipped", &[][..]), ("WEBHOOK_SECRET_NAME is set", name)] {
        let space = shop().await;
        let before = started(&space, variables).await;
        push(&before, &space, "", OLD).await;
        space.delete_secret(&space.fleet, "gitjob-webhook").await;
        let mut taken = [0, 0];
        let after = started(&space, variables).await;
        for (function, taken) in [&before, &after].into_iter().zip(&mut taken) {
            for number in 0..PUSHES {
                let answer =
                    function.push(&space, "any", "refs/heads/main", &commit(number + 1)).await;
                *taken += usize::from(answer.status == 200);
            }
        }
        let what = format!(
            "A11: pushes that nothing proves while the secret is made anew, {how}: taken by a replica that knew it, by a new one"
        );
        let now = format!("{} of {PUSHES}, {} of {PUSHES}", taken[0], taken[1]);
        line(&what, "none, 100 of 100", &now);
    }
}
