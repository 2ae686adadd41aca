//! Rules that do their worst: each harms itself alone.

use std::time::Duration;

use crate::support::{Files, NEIGHBOUR, Running, numbered};

/// The rule `bad` beside a good one over three events: the good one matches all of them, `bad` is as `check` says.
async fn beside_a_neighbour(
    python: &str,
    check: impl FnOnce(&Running, &panther_detections::engine::Evaluation),
) {
    let running = Files::default()
        .rule("bad", python)
        .rule("a_neighbour", NEIGHBOUR)
        .rule("z_neighbour", NEIGHBOUR)
        .engine()
        .await;
    let events = numbered(3);
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    let evaluation = running.evaluate(&events).await;
    assert_eq!(running.matched(&evaluation, "a_neighbour"), [0, 1, 2]);
    assert_eq!(running.matched(&evaluation, "z_neighbour"), [0, 1, 2]);
    check(&running, &evaluation);
    // And again: the engine is as good as before.
    let again = running.evaluate(&events).await;
    assert_eq!(running.matched(&again, "z_neighbour"), [0, 1, 2]);
    running.engine.stop().await;
}

/// `python`, which does its harm on event 1 only, gives exactly that event an error.
async fn fails_on_event_one(python: &str, kind: &str) {
    beside_a_neighbour(python, |running, evaluation| {
        let errors = running.errors(evaluation, "bad");
        assert_eq!(
            errors.iter().map(|(event, _)| *event).collect::<Vec<_>>(),
            [1],
            "{errors:?}"
        );
        assert_eq!(errors[0].1.kind, kind, "{errors:?}");
        assert_eq!(running.matched(evaluation, "bad"), [0, 2]);
    })
    .await;
}

#[tokio::test]
async fn a_rule_that_raises_fails_for_that_event() {
    fails_on_event_one(
        "def rule(event):\n    return event['n'] != 1 or event['gone']\n",
        "KeyError",
    )
    .await;
}

#[tokio::test]
async fn a_rule_that_gives_no_bool_fails() {
    fails_on_event_one(
        "def rule(event):\n    return 1 if event['n'] == 1 else True\n",
        "FunctionReturnTypeError",
    )
    .await;
}

#[tokio::test]
async fn a_rule_that_loops_is_interrupted() {
    fails_on_event_one(
        "def rule(event):\n    while event['n'] == 1:\n        pass\n    return True\n",
        "DetectionTimeout",
    )
    .await;
}

#[tokio::test]
async fn a_rule_that_cannot_be_interrupted_has_its_worker_killed() {
    // One call into C that never returns to the interpreter: a regular expression with catastrophic backtracking. With flags it is for Python.
    let python = "import re\ndef rule(event):\n    return event['n'] != 1 or bool(re.match('(a+)+b', 'a' * 60, re.ASCII))\n";
    beside_a_neighbour(python, |running, evaluation| {
        let errors = running.errors(evaluation, "bad");
        assert_eq!(errors.len(), 1);
        assert_eq!(
            (errors[0].0, errors[0].1.kind.as_str()),
            (1, "DetectionTimeout"),
            "{errors:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_rule_that_exits_fails_for_that_event() {
    fails_on_event_one("import sys\ndef rule(event):\n    if event['n'] == 1:\n        sys.exit(3)\n    return True\n", "SystemExit").await;
}

#[tokio::test]
async fn a_rule_that_ends_its_process_fails_for_that_event() {
    fails_on_event_one("import os\ndef rule(event):\n    if event['n'] == 1:\n        os._exit(3)\n    return True\n", "WorkerDied").await;
}

#[tokio::test]
async fn a_rule_that_is_killed_fails_for_that_event() {
    fails_on_event_one(
        "import faulthandler\ndef rule(event):\n    if event['n'] == 1:\n        faulthandler._read_null()\n    return True\n",
        "WorkerDied",
    )
    .await;
    fails_on_event_one(
        "import os\ndef rule(event):\n    if event['n'] == 1:\n        os.kill(os.getppid(), 9)\n    return True\n",
        "PermissionError",
    )
    .await;
}

#[tokio::test]
async fn a_rule_that_changes_what_all_rules_share_fails_for_that_event_and_harms_no_other() {
    let honest = "import base64\ndef rule(event):\n    return base64.b64decode('YQ==') == b'a'\n";
    let bad = "import base64\ndef rule(event):\n    if event['n'] > 4:\n        base64.b64decode = lambda _: b''\n    return base64.b64decode('YQ==') == b'a'\n";
    let running = Files::default()
        .rule("a_neighbour", honest)
        .rule("bad", bad)
        .rule("z_neighbour", honest)
        .engine_with(|settings| settings.strikes = 3)
        .await;
    let events = numbered(40);
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    for _ in 0..2 {
        let evaluation = running.evaluate(&events).await;
        for neighbour in ["a_neighbour", "z_neighbour"] {
            assert_eq!(running.matched(&evaluation, neighbour).len(), 40);
        }
        let errors = running.errors(&evaluation, "bad");
        let of = |kind| {
            errors
                .iter()
                .filter(|(_, error)| error.kind == kind)
                .count()
        };
        assert_eq!(of("SharedStateChanged"), 3, "{errors:?}");
        assert_eq!(of("DetectionSuspended"), 32, "{errors:?}");
        assert!(
            errors[0].1.message.contains("it changed base64.b64decode"),
            "{errors:?}"
        );
        assert_eq!(evaluation.suspended, [running.index("bad")]);
    }
    running.engine.stop().await;
}

/// A rule that ends more than its worker, where no kernel keeps it from that, is found and suspended, and the others see all events.
async fn ends_others(python: &str) {
    let running = Files::default()
        .rule("a_neighbour", NEIGHBOUR)
        .rule("bad", python)
        .rule("m_neighbour", NEIGHBOUR)
        .rule("z_neighbour", NEIGHBOUR)
        .engine_with(|settings| {
            settings.confined = false;
            settings.native = false;
        })
        .await;
    let events = numbered(60);
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    let evaluation = running.evaluate(&events).await;
    for neighbour in ["a_neighbour", "m_neighbour", "z_neighbour"] {
        assert_eq!(
            running.matched(&evaluation, neighbour).len(),
            60,
            "{neighbour}"
        );
        assert!(running.errors(&evaluation, neighbour).is_empty());
    }
    assert_eq!(evaluation.suspended, [running.index("bad")]);
    assert_eq!(running.errors(&evaluation, "bad").len(), 60);
    running.engine.stop().await;
}

#[tokio::test]
async fn a_rule_that_kills_the_template_is_suspended_and_the_batch_goes_on() {
    ends_others(
        "import os, time\ndef rule(event):\n    os.kill(os.getppid(), 9)\n    time.sleep(30)\n",
    )
    .await;
}

#[tokio::test]
async fn a_rule_that_kills_its_group_ends_its_worker_only() {
    ends_others("import os\ndef rule(event):\n    os.killpg(0, 9)\n").await;
}

#[tokio::test]
async fn a_rule_that_hides_where_its_worker_was_is_found_all_the_same() {
    let hides = "import os, sys\ndef rule(event):\n    frame = sys._getframe()\n    while not hasattr(frame.f_locals.get('self'), '_cells'):\n        frame = frame.f_back\n    frame.f_locals['self']._cells[3] = 0\n    os._exit(1)\n";
    ends_others(hides).await;
}

#[tokio::test]
async fn a_rule_reaches_nothing_of_the_node() {
    let probe = Files::default().rule("r", NEIGHBOUR).engine().await;
    let unenforced = probe.engine.load_report().unenforced.clone();
    probe.engine.stop().await;
    if !unenforced.is_empty() {
        eprintln!("not tried: {}", unenforced.join("; "));
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let at = |name: &str| data.path().join(name).display().to_string();
    std::fs::write(at("key"), "secret").unwrap();
    let _listens = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    let (key, socket, made) = (at("key"), at("socket"), at("made"));
    let mine = std::process::id();
    for attempt in [
        format!("open({key:?})"),
        format!("open({made:?}, 'w')"),
        format!("os.remove({key:?})"),
        format!("os.chmod({key:?}, 0o777)"),
        format!("os.truncate({key:?}, 0)"),
        format!("socket.socket(socket.AF_UNIX).connect({socket:?})"),
        "socket.create_server(('127.0.0.1', 0))".to_owned(),
        format!("open('/proc/{mine}/environ')"),
        format!("open('/proc/{mine}/mem')"),
        format!("os.kill({mine}, 0)"),
        format!("os.setpriority(os.PRIO_PROCESS, {mine}, 19)"),
        format!("resource.prlimit({mine}, resource.RLIMIT_NOFILE, (3, 3))"),
        "os.setsid()".to_owned(),
    ] {
        let rule = format!(
            "import os, resource, socket\ndef rule(event):\n    if event['n'] == 1:\n        {attempt}\n    return True\n"
        );
        fails_on_event_one(&rule, "PermissionError").await;
    }
    assert_eq!(std::fs::read(at("key")).unwrap(), b"secret");
    assert!(!data.path().join("made").exists());
}

#[tokio::test]
async fn a_rule_may_not_fork() {
    fails_on_event_one("import os\ndef rule(event):\n    if event['n'] == 1:\n        os.fork()\n    return True\n", "DetectionForbidden").await;
}

#[tokio::test]
async fn a_rule_that_floods_the_output_disturbs_nobody() {
    let python = "import os, sys\ndef rule(event):\n    for _ in range(2000):\n        print('x' * 1000)\n        sys.stderr.write('y' * 1000)\n        os.write(1, b'z' * 1000)\n        os.write(2, b'z' * 1000)\n    return True\n";
    beside_a_neighbour(python, |running, evaluation| {
        assert_eq!(running.matched(evaluation, "bad"), [0, 1, 2])
    })
    .await;
}

#[tokio::test]
async fn a_rule_that_takes_two_gigabytes_fails_for_that_event() {
    fails_on_event_one(
        "def rule(event):\n    return event['n'] != 1 or len(bytearray(2 << 30)) > 0\n",
        "MemoryError",
    )
    .await;
}

#[tokio::test]
async fn a_rule_that_is_out_of_stack_fails_for_that_event() {
    fails_on_event_one(
        "def f(n):\n    return f(n + 1)\ndef rule(event):\n    return event['n'] != 1 or f(0)\n",
        "RecursionError",
    )
    .await;
}

#[tokio::test]
async fn what_the_store_could_not_keep_fails_for_that_event() {
    for (key, kind) in [
        ("'\\ud800'", "UnicodeEncodeError"),
        ("'k' * 2049", "ValueError"),
        ("'k', 2 ** 63", "OverflowError"),
    ] {
        let python = format!(
            "from panther_detection_helpers.caching import increment_counter\ndef rule(event):\n    return event['n'] != 1 or increment_counter({key}) > 0\n"
        );
        fails_on_event_one(&python, kind).await;
    }
}

#[tokio::test]
async fn a_context_that_is_too_large_is_replaced_by_a_note() {
    let python = "def rule(event):\n    return event['n'] == 1\ndef alert_context(event):\n    return {'x': 'y' * 300_000}\n";
    beside_a_neighbour(python, |running, evaluation| {
        let outputs = running.outputs(evaluation, "bad");
        let context = outputs[0].1.context.as_deref().unwrap();
        assert!(
            context.contains("_error") && context.len() < 1000,
            "{context}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_rule_that_does_not_compile_fails_on_each_of_its_events() {
    beside_a_neighbour("def rule(event:\n", |running, evaluation| {
        let errors = running.errors(evaluation, "bad");
        assert_eq!(errors.len(), 3);
        assert_eq!(errors[0].1.kind, "SyntaxError");
        let loaded = &running.engine.load_report().detections[running.index("bad")];
        assert_eq!(loaded.error.as_ref().unwrap().kind, "SyntaxError");
    })
    .await;
}

#[tokio::test]
async fn a_rule_that_imports_what_is_not_there_fails_on_each_of_its_events() {
    beside_a_neighbour(
        "import not_a_module\ndef rule(event):\n    return True\n",
        |running, evaluation| {
            assert_eq!(
                running.errors(evaluation, "bad")[2].1.kind,
                "ModuleNotFoundError"
            );
        },
    )
    .await;
}

#[tokio::test]
async fn a_module_that_ends_the_process_while_it_is_loaded_harms_itself_only() {
    // Whatever it says of itself by its exit, and however.
    for (end, kind) in [
        ("os._exit(1)", "LoadDied"),
        ("os._exit(0)", "LoadDied"),
        ("os.kill(os.getpid(), 9)", "PermissionError"),
        ("os.closerange(0, 256)", "LoadDied"),
    ] {
        beside_a_neighbour(&format!("import os\n{end}\n"), |running, evaluation| {
            let errors = running.errors(evaluation, "bad");
            assert_eq!(errors.len(), 3);
            assert_eq!(errors[0].1.kind, kind, "{end}");
        })
        .await;
    }
}

#[tokio::test]
async fn many_modules_that_end_the_process_are_all_left_out() {
    let mut files = Files::default().rule("neighbour", NEIGHBOUR);
    let ends: Vec<String> = (0..12).map(|number| format!("bad{number}")).collect();
    for id in &ends {
        files = files.rule(id, "import os\nos._exit(0)\n");
    }
    let running = files.engine().await;
    let evaluation = running.evaluate(&["{\"n\":1}"]).await;
    for id in &ends {
        assert_eq!(
            running.errors(&evaluation, id)[0].1.kind,
            "LoadDied",
            "{id}"
        );
    }
    assert_eq!(running.matched(&evaluation, "neighbour").len(), 1);
    running.engine.stop().await;
}

#[tokio::test]
async fn a_rule_that_insists_is_left_out_of_the_rest() {
    let running = Files::default()
        .rule("bad", "import os\ndef rule(event):\n    os._exit(1)\n")
        .rule("neighbour", NEIGHBOUR)
        .engine_with(|settings| settings.strikes = 3)
        .await;
    let events = numbered(40);
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    let evaluation = running.evaluate(&events).await;
    assert_eq!(running.matched(&evaluation, "neighbour").len(), 40);
    let errors = running.errors(&evaluation, "bad");
    // Every pair has its error: none is silently left out.
    assert_eq!(errors.len(), 40);
    assert_eq!(
        errors
            .iter()
            .filter(|(_, error)| error.kind == "WorkerDied")
            .count(),
        3
    );
    assert_eq!(evaluation.suspended, [running.index("bad")]);
    assert_eq!(evaluation.statistics.workers_lost, 3);
    running.engine.stop().await;
}

#[tokio::test]
async fn time_outs_of_a_whole_batch_do_not_add_up() {
    let running = Files::default()
        .rule("bad", "def rule(event):\n    while True:\n        pass\n")
        .rule("neighbour", NEIGHBOUR)
        .engine_with(|settings| {
            settings.strikes = 2;
            settings.rule_time = Duration::from_millis(100);
        })
        .await;
    let events = numbered(200);
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    let evaluation = running.evaluate(&events).await;
    assert_eq!(running.matched(&evaluation, "neighbour").len(), 200);
    let errors = running.errors(&evaluation, "bad");
    let of = |kind: &str| {
        errors
            .iter()
            .filter(|(_, error)| error.kind == kind)
            .count()
    };
    // Each that was waited for took its time; the others were told at once.
    assert_eq!((of("DetectionTimeout"), of("DetectionSuspended")), (2, 198));
    // Nor was it run to its last step again and again without Python.
    let left = running.left_to_python();
    let exhausted: u64 = left
        .iter()
        .filter(|(_, why, _)| why == "many steps")
        .map(|(_, _, count)| count)
        .sum();
    assert!(exhausted <= 3, "{left:?}");
    running.engine.stop().await;
}
