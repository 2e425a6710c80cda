//! Encodings and batches of the real server, with books as exact as everywhere: each round of a batch is a receipt.

mod support;

use lastmile_reports::schema::Accounting;
use support::{lastmile, result_of, server_program, text};

#[test]
fn every_variant_of_the_real_server_delivers_each_round_to_each_subscriber_once_and_intact() {
    const VARIANTS: [&str; 10] = [
        "ws+msgpack",
        "ws+batch5",
        "ws+msgpack+batch5",
        "sse+msgpack",
        "sse+batch5",
        "sse+msgpack+batch5",
        "wt-stream+msgpack",
        "wt-stream+batch5",
        "wt-streams+msgpack+batch5",
        "wt-datagram+msgpack",
    ];
    let folder = tempfile::tempdir().unwrap();
    let mut command = lastmile(&["run", "--json", "--out"]);
    command.arg(folder.path()).env("LASTMILE_SERVER_BIN", server_program());
    command.args(["--connections", "6", "--rate", "400", "--warmup", "100ms", "--duration", "500ms"]);
    let output = command.args(["--protocols", &VARIANTS.join(",")]).output().unwrap();
    assert!(matches!(output.status.code(), Some(0)), "{}: {}", output.status, text(&output.stderr));
    let result = result_of(&output);
    assert_eq!(result.cases.len(), VARIANTS.len());
    for (case, variant) in result.cases.iter().zip(VARIANTS) {
        assert_eq!(case.protocol, variant);
        let Accounting { expected, delivered, lost, duplicated, reordered, corrupt } = case.accounting;
        assert_eq!(expected, case.published * 6, "{variant}");
        assert_eq!((duplicated, corrupt), (0, 0), "{variant}: {:?}", case.errors);
        let is_ordered = !variant.starts_with("wt-streams") && !variant.starts_with("wt-datagram");
        assert!(reordered == 0 || !is_ordered, "{variant}: {reordered} reordered");
        // A datagram may be lost.
        assert!(
            (delivered, lost) == (expected, 0) || variant.starts_with("wt-datagram"),
            "{variant}: {lost} lost"
        );
        assert!(delivered > 0, "{variant}");
    }
}
