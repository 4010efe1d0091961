//! Blocking clients of Redis, MySQL and PostgreSQL, against real servers.

use std::thread;
use std::time::Duration;

use ropewalk::spawn;
use ropewalk_real::libpq::Connection;
use ropewalk_real::on_one_worker;

const CLIENTS: u32 = 50;
const DELAY: Duration = Duration::from_millis(300);

#[test]
fn redis_clients_wait_for_each_other() {
    let Some(server) = ropewalk_real::redis() else { return };
    let url = format!("redis://127.0.0.1:{}/", server.port);
    let ((), shown) = on_one_worker("redis", move || {
        let connect = || redis::Client::open(url.clone()).unwrap().get_connection().unwrap();
        let blocked = |number: u32| {
            let mut connection = connect();
            spawn(move || {
                // Blocks in the server until something is pushed.
                let (list, value): (String, u32) =
                    redis::cmd("BLPOP").arg(format!("list{number}")).arg(0).query(&mut connection).unwrap();
                assert_eq!((list, value), (format!("list{number}"), number * 7));
                let seen: u32 = redis::cmd("INCR").arg("answers").query(&mut connection).unwrap();
                assert!(seen >= 1);
            })
        };
        let all: Vec<_> = (0..CLIENTS).map(blocked).collect();
        let mut connection = connect();
        // The server itself says that all wait at once.
        let waiting = format!("blocked_clients:{CLIENTS}\r\n");
        loop {
            let told: String = redis::cmd("INFO").arg("clients").query(&mut connection).unwrap();
            if told.contains(&waiting) {
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
        thread::sleep(DELAY);
        for number in 0..CLIENTS {
            let list = format!("list{number}");
            let _: u32 = redis::cmd("RPUSH").arg(list).arg(number * 7).query(&mut connection).unwrap();
        }
        all.into_iter().for_each(|handle| handle.join().unwrap());
        let answers: u32 = redis::cmd("GET").arg("answers").query(&mut connection).unwrap();
        assert_eq!(answers, CLIENTS);
    });
    shown.check("redis, BLPOP", CLIENTS, DELAY);
    assert!(shown.parks(&["recv", "read"]) >= u64::from(CLIENTS));
}

#[test]
fn a_c_librarys_postgres_clients_wait_for_each_other() {
    let Some(server) = ropewalk_real::postgres() else { return };
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", server.port);
    let ((), shown) = on_one_worker("postgres", move || {
        let holder = Connection::open(&url);
        holder.ask("CREATE TABLE seen (n INT)");
        holder.ask("SELECT pg_advisory_lock(1)");
        let client = |number: u32| {
            let url = url.clone();
            spawn(move || {
                let connection = Connection::open(&url);
                // Waits in the server, because the first connection has the lock.
                connection.ask("SELECT pg_advisory_lock_shared(1)");
                connection.ask(&format!("SELECT pg_sleep({})", DELAY.as_secs_f64()));
                connection.ask(&format!("INSERT INTO seen VALUES ({number})"));
                let text =
                    connection.ask(&format!("SELECT repeat('x', 100000) FROM seen WHERE n = {number}"));
                assert_eq!(text, "x".repeat(100_000));
            })
        };
        let all: Vec<_> = (0..CLIENTS).map(client).collect();
        // The server itself says that all wait at once.
        while holder.ask("SELECT count(*) FROM pg_locks WHERE NOT granted") != CLIENTS.to_string() {
            thread::sleep(Duration::from_millis(5));
        }
        holder.ask("SELECT pg_advisory_unlock(1)");
        all.into_iter().for_each(|handle| handle.join().unwrap());
        assert_eq!(holder.ask("SELECT count(*) FROM seen"), CLIENTS.to_string());
    });
    shown.check("libpq, pg_sleep", CLIENTS, DELAY);
    // It waits in poll, and then receives.
    assert!(shown.parks(&["poll", "recv"]) >= 3 * u64::from(CLIENTS));
}

#[test]
fn mysql_clients_wait_for_each_other() {
    use mysql::prelude::Queryable;
    let Some(server) = ropewalk_real::mysql() else { return };
    let url = format!("mysql://root@127.0.0.1:{}?prefer_socket=false", server.port);
    let ((), shown) = on_one_worker("mysql", move || {
        let connect = |url: &str| mysql::Conn::new(mysql::Opts::from_url(url).unwrap()).unwrap();
        let mut holder = connect(&url);
        holder.query_drop("CREATE DATABASE seen").unwrap();
        holder.query_drop("CREATE TABLE seen.seen (n INT)").unwrap();
        holder.query_drop("LOCK TABLES seen.seen WRITE").unwrap();
        let client = |number: u32| {
            let url = url.clone();
            spawn(move || {
                let mut connection = connect(&url);
                // Waits in the server, because the first connection has the table.
                connection.exec_drop("INSERT INTO seen.seen VALUES (?)", (number,)).unwrap();
                let slept: Option<u32> =
                    connection.query_first(format!("SELECT SLEEP({})", DELAY.as_secs_f64())).unwrap();
                assert_eq!(slept, Some(0));
                let rows =
                    connection.exec("SELECT REPEAT('x', 100000), n FROM seen.seen WHERE n = ?", (number,));
                let rows: Vec<(String, u32)> = rows.unwrap();
                assert_eq!(rows, [("x".repeat(100_000), number)]);
            })
        };
        let all: Vec<_> = (0..CLIENTS).map(client).collect();
        // The server itself says that all wait at once.
        let waiting =
            "SELECT COUNT(*) FROM information_schema.processlist WHERE state LIKE 'Waiting for table%'";
        while holder.query_first(waiting).unwrap() != Some(CLIENTS) {
            thread::sleep(Duration::from_millis(5));
        }
        holder.query_drop("UNLOCK TABLES").unwrap();
        all.into_iter().for_each(|handle| handle.join().unwrap());
        assert_eq!(holder.query_first("SELECT COUNT(*) FROM seen.seen").unwrap(), Some(CLIENTS));
    });
    shown.check("mysql, SLEEP", CLIENTS, DELAY);
    assert!(shown.parks(&["recv", "read"]) >= 3 * u64::from(CLIENTS));
}

/// A client that hides a tokio runtime: its event loop parks the coroutine. tokio notes in a thread-local that the
/// thread is in it, so on each worker one coroutine at a time can be.
#[test]
fn a_postgres_client_upon_tokio_keeps_no_worker() {
    use postgres::{Client, NoTls};
    let Some(server) = ropewalk_real::postgres() else { return };
    let ((), shown) = on_one_worker("tokio", move || {
        let url = format!("postgres://postgres@127.0.0.1:{}/postgres", server.port);
        let beside = spawn(|| {
            let mut naps = 0u32;
            loop {
                thread::sleep(Duration::from_millis(1));
                naps += 1;
                if naps == 100 {
                    return naps;
                }
            }
        });
        let mut client = Client::connect(&url, NoTls).unwrap();
        for _ in 0..2 {
            client.execute("SELECT pg_sleep($1)", &[&DELAY.as_secs_f64()]).unwrap();
        }
        assert!(beside.is_finished(), "a nap of 100 ms is over after 600 ms");
        assert_eq!(beside.join().unwrap(), 100);
    });
    assert!(shown.reports.is_empty(), "{:?}", shown.reports);
    assert!(shown.parks(&["epoll_wait", "epoll_pwait"]) >= 2);
}
