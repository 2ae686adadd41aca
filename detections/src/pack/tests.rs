use super::*;
use std::io::{Cursor, Write};

fn zipped(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        writer
            .start_file(*name, zip::write::SimpleFileOptions::default())
            .unwrap();
        writer.write_all(content.as_bytes()).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn read(entries: &[(&str, &str)]) -> Result<Pack, Vec<Problem>> {
    Pack::read_zip(&zipped(entries))
}

const RULE: &str = "AnalysisType: rule\nRuleID: My.Rule\nFilename: my_rule.py\nLogTypes: [AWS.CloudTrail]\nSeverity: High\n";
const BODY: &str = "def rule(event):\n    return True\n";

fn with(extra: &str) -> Result<Pack, Vec<Problem>> {
    read(&[
        ("rules/my_rule.yml", &format!("{RULE}{extra}")),
        ("rules/my_rule.py", BODY),
    ])
}

/// The problems of the rule with `extra` keys, as `key: reason`.
fn problems(extra: &str) -> Vec<String> {
    with(extra)
        .err()
        .unwrap_or_default()
        .into_iter()
        .map(|problem| format!("{}: {}", problem.key.unwrap_or_default(), problem.reason))
        .collect()
}

#[test]
fn a_rule_is_read_with_its_defaults() {
    let pack = with("Reports: {CIS: [3.5, '2.1']}\nTags: [b, a]\nTests:\n  - Name: t\n    ExpectedResult: true\n    Log: {a: 012}\n    Mocks: [{objectName: x, returnValue: 'no'}]\n").unwrap();
    let rule = pack.detection("My.Rule").unwrap();
    assert_eq!(
        (rule.kind, rule.severity, rule.dedup_minutes, rule.threshold),
        (DetectionKind::Rule, Severity::High, 60, 1)
    );
    assert!(
        rule.enabled
            && rule.create_alert
            && rule.unevaluated.is_none()
            && rule.limitations.is_empty()
    );
    assert_eq!(rule.tags, ["a", "b"]);
    assert_eq!(rule.reports["CIS"], ["2.1", "3.5"]);
    assert_eq!(
        rule.source,
        Source::Python {
            file: "rules/my_rule.py".into(),
            text: BODY.into()
        }
    );
    assert_eq!(rule.tests[0].input, serde_json::json!({"a": 12}));
    assert_eq!(rule.tests[0].mocks[0].return_value, "no");
}

#[test]
fn a_pack_survives_being_stored() {
    let pack = with("Tests:\n  - {Name: t, ExpectedResult: false, Log: {}}\n").unwrap();
    let stored = serde_json::to_string(&pack).unwrap();
    assert_eq!(serde_json::from_str::<Pack>(&stored).unwrap(), pack);
}

#[test]
fn the_version_is_of_the_content_and_of_nothing_else() {
    let base = with("").unwrap();
    assert_eq!(base.version, with("# a comment\n").unwrap().version);
    assert_ne!(base.version, with("Threshold: 2\n").unwrap().version);
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("rules")).unwrap();
    std::fs::write(folder.path().join("rules/my_rule.yml"), RULE).unwrap();
    std::fs::write(folder.path().join("rules/my_rule.py"), BODY).unwrap();
    assert_eq!(Pack::read(folder.path()).unwrap(), base);
    assert_eq!(base.version.len(), 32);
    let other_body = read(&[
        ("rules/my_rule.yml", RULE),
        ("rules/my_rule.py", "def rule(event):\n    return False\n"),
    ])
    .unwrap();
    assert_ne!(base.version, other_body.version);
    assert_ne!(base.detections[0].version, other_body.detections[0].version);
}

#[test]
fn every_problem_is_found_in_one_reading() {
    let found = read(&[
        ("a.yml", "AnalysisType: rule\nRuleID: 'a<b'\nFilename: gone.py\nLogTypes: []\nSeverity: Huge\nThreshold: -1\nEnabled: yes\nTreshold: 3\n"),
        ("b.yml", "AnalysisType: rules\n"),
        ("c.yml", "AnalysisType: [\n"),
        ("d.yml", "AnalysisType: global\nGlobalID: panther_core\nFilename: ../../x.py\n"),
        ("e.yml", "AnalysisType: datamodel\nDataModelID: M\nLogTypes: [A, B]\nMappings: [{Name: x}, {Name: y, Method: f}]\n"),
    ])
    .unwrap_err();
    let found: Vec<_> = found
        .iter()
        .map(|problem| (problem.file.as_str(), problem.key.as_deref().unwrap_or("")))
        .collect();
    for expected in [
        ("a.yml", "RuleID"),
        ("a.yml", "Filename"),
        ("a.yml", "LogTypes"),
        ("a.yml", "Severity"),
        ("a.yml", "Threshold"),
        ("a.yml", "Enabled"),
        ("a.yml", "Treshold"),
        ("b.yml", "AnalysisType"),
        ("c.yml", ""),
        ("d.yml", "GlobalID"),
        ("d.yml", "Filename"),
        ("e.yml", "LogTypes"),
        ("e.yml", "Mappings[0].Path"),
        ("e.yml", "Mappings[1].Method"),
    ] {
        assert!(
            found.contains(&expected),
            "{expected:?} is not in {found:?}"
        );
    }
}

#[test]
fn reasons_name_what_would_be_right() {
    assert_eq!(
        problems("Treshold: 3\n"),
        ["Treshold: unknown key; did you mean Threshold?"]
    );
    assert_eq!(
        problems("Enabled: yes\n"),
        ["Enabled: must be true or false, not a text"]
    );
    assert_eq!(
        problems("DedupPeriodMinutes: 1.5\n"),
        ["DedupPeriodMinutes: must be a whole number of at least 0, not 1.5"]
    );
    assert!(problems("Detection: []\n")[0].contains("exactly one of Filename"));
    assert!(problems("Tests: [{Name: t, ExpectedResult: 1, Log: []}]\n").len() == 2);
    let long = "x".repeat(10_001);
    assert_eq!(
        problems(&format!("Description: {long}\n")),
        ["Description: 10001 characters; at most 10000"]
    );
}

#[test]
fn ids_and_models_are_unique() {
    let twice = read(&[("a.yml", RULE), ("b.yml", RULE), ("my_rule.py", BODY)]).unwrap_err();
    assert!(
        twice[0].reason.contains("also defined in a.yml"),
        "{twice:?}"
    );
    let model = |id: &str, enabled: bool| {
        format!(
            "AnalysisType: datamodel\nDataModelID: {id}\nEnabled: {enabled}\nLogTypes: [A]\nMappings: [{{Name: x, Path: y}}]\n"
        )
    };
    assert!(read(&[("a.yml", &model("a", true)), ("b.yml", &model("b", true))]).is_err());
    assert!(read(&[("a.yml", &model("a", true)), ("b.yml", &model("b", false))]).is_ok());
}

#[test]
fn what_is_not_evaluated_says_so() {
    let filters = |extra: &str| with(extra).unwrap().detections[0].inline_filters.clone();
    assert_eq!(filters("InlineFilters: [{All: []}]\n"), None);
    assert_eq!(filters("InlineFilters: []\n"), None);
    assert!(filters("InlineFilters: [{KeyPath: a, Condition: Equals, Value: b}]\n").is_some());
    let scheduled = "AnalysisType: scheduled_rule\nRuleID: S\nFilename: s.py\nScheduledQueries: [Q]\nSeverity: Low\n";
    let scheduled = read(&[("s.yml", scheduled), ("s.py", BODY)]).unwrap();
    assert!(scheduled.detections[0].unevaluated.is_some());
    let unique = read(&[
        ("a.yml", &format!("{RULE}Threshold: 5\n")),
        (
            "my_rule.py",
            "def rule(e):\n    return True\ndef unique(e):\n    return 'x'\n",
        ),
    ])
    .unwrap();
    assert!(unique.detections[0].limitations[0].contains("unique()"));
    let items = read(&[
        (
            "q.yml",
            "AnalysisType: scheduled_query\nQueryName: Q\nQuery: select 1\n",
        ),
        ("l.yml", "AnalysisType: lookup_table\nLookupName: L\n"),
        (
            "c.yml",
            "AnalysisType: correlation_rule\nRuleID: C\nDetection: []\n",
        ),
        ("x.yml", "name: not an item\n"),
    ])
    .unwrap();
    assert_eq!(items.unevaluated.len(), 3);
    assert!(items.unevaluated.iter().all(|item| !item.reason.is_empty()));
    assert_eq!(items.ignored_files, ["x.yml"]);
}

#[test]
fn a_derived_rule_takes_from_its_base_what_it_does_not_say() {
    let derived = "AnalysisType: rule\nRuleID: My.Derived\nBaseDetection: My.Rule\nSeverity: Low\n";
    let pack = read(&[
        ("rules/my_rule.yml", RULE),
        ("rules/my_rule.py", BODY),
        ("own/derived.yml", derived),
    ])
    .unwrap();
    let rule = pack.detection("My.Derived").unwrap();
    assert_eq!(rule.severity, Severity::Low);
    assert_eq!(rule.log_types, ["AWS.CloudTrail"]);
    assert_eq!(rule.source, pack.detection("My.Rule").unwrap().source);
    assert!(read(&[("d.yml", derived)]).is_err());
}

#[test]
fn an_empty_folder_says_what_was_looked_at() {
    let nothing = read(&[("readme.txt", "x")]).unwrap_err();
    assert!(nothing[0].reason.contains("no item found"), "{nothing:?}");
}

/// With `PANTHER_PACK=<panther-analysis folder>`: all of the public pack is read without a problem.
#[test]
fn the_public_pack_is_read() {
    let Some(folder) = std::env::var_os("PANTHER_PACK") else {
        return;
    };
    let start = std::time::Instant::now();
    let pack = Pack::read(Path::new(&folder)).unwrap_or_else(|problems| {
        panic!(
            "{}",
            problems
                .iter()
                .map(|problem| format!("{problem}\n"))
                .collect::<String>()
        );
    });
    println!("read in {:?}", start.elapsed());
    let count = |kind| {
        pack.detections
            .iter()
            .filter(|detection| detection.kind == kind)
            .count()
    };
    println!(
        "{} rules, {} policies, {} scheduled rules, {} globals, {} models, {} packs, {} unevaluated items, {} unevaluated detections, {} limited",
        count(DetectionKind::Rule),
        count(DetectionKind::Policy),
        count(DetectionKind::ScheduledRule),
        pack.globals.len(),
        pack.data_models.len(),
        pack.packs.len(),
        pack.unevaluated.len(),
        pack.detections
            .iter()
            .filter(|detection| detection.unevaluated.is_some())
            .count(),
        pack.detections
            .iter()
            .filter(|detection| !detection.limitations.is_empty())
            .count(),
    );
    for detection in pack
        .detections
        .iter()
        .filter(|detection| !detection.limitations.is_empty())
    {
        println!("{}: {:?}", detection.id, detection.limitations);
    }
    assert!(count(DetectionKind::Rule) > 800);
}

/// What panther_analysis_tool 1.11.1 accepts, one item with every key of its schema for each kind.
const EVERY_KEY: [&str; 11] = [
    "AnalysisType: rule\nEnabled: true\nFilename: r.py\nRuleID: R\nLogTypes: [AWS.CloudTrail]\nSeverity: Info\nDescription: d\nDedupPeriodMinutes: 5\nInlineFilters: [{All: []}]\nDisplayName: n\nOnlyUseBaseRiskScore: true\nOutputIds: [o]\nCreatedBy: me\nReference: r\nRunbook: r\nStatus: s\nSummaryAttributes: [a]\nThreshold: 2\nTags: [t]\nReports: {CIS: [1.1]}\nTests: [{Name: t, LogType: T, ExpectedResult: true, ExpectedDestinations: [d], Log: {}, Mocks: [{objectName: x, returnValue: true}]}]\nCreateAlert: false\nBaseVersion: 3\n",
    "AnalysisType: rule\nEnabled: true\nRuleID: Simple\nLogTypes: [T]\nSeverity: Info\nDetection: []\nAlertTitle: t\nAlertContext: []\nGroupBy: []\nDynamicSeverities: []\n",
    "AnalysisType: rule\nRuleID: Derived\nBaseDetection: R\nEnabled: false\nSeverity: Low\nOnlyUseBaseRiskScore: false\nReference: r\nTests: []\nBaseVersion: 1\n",
    "AnalysisType: scheduled_rule\nEnabled: true\nDetection: []\nRuleID: S\nScheduledQueries: [Q]\nSeverity: Info\nOnlyUseBaseRiskScore: true\n",
    "AnalysisType: policy\nEnabled: true\nFilename: p.py\nPolicyID: P\nResourceTypes: [AWS.S3.Bucket]\nSeverity: High\nActionDelaySeconds: 3\nAutoRemediationID: a\nAutoRemediationParameters: {A: {B: [1]}}\nDescription: d\nDisplayName: n\nOnlyUseBaseRiskScore: true\nOutputIds: [o]\nCreatedBy: me\nReference: r\nRunbook: r\nStatus: s\nSuppressions: [x]\nTags: [t]\nReports: {CIS: ['1']}\nTests: [{Name: t, ResourceType: T, ExpectedResult: true, Resource: {}, Mocks: []}]\nBaseVersion: 3\n",
    "AnalysisType: global\nFilename: g.py\nGlobalID: g\nDescription: d\nTags: [t]\nBaseVersion: 3\n",
    "AnalysisType: datamodel\nDataModelID: D\nEnabled: true\nLogTypes: [T]\nMappings: [{Name: a, Path: b}]\nDisplayName: n\nFilename: g.py\nBaseVersion: 3\n",
    "AnalysisType: correlation_rule\nRuleID: C\nEnabled: true\nDetection: []\nSeverity: Info\nDescription: d\nDisplayName: n\nOnlyUseBaseRiskScore: true\nOutputIds: [o]\nCreatedBy: me\nReference: r\nRunbook: r\nStatus: s\nSummaryAttributes: [a]\nTags: [t]\nReports: {}\nCreateAlert: true\nTests: []\nBaseVersion: 3\n",
    "AnalysisType: scheduled_query\nQueryName: Q\nEnabled: true\nQuery: q\nAthenaQuery: q\nSnowflakeQuery: q\nDatabricksQuery: q\nSchedule: {RateMinutes: 5, TimeoutMinutes: 1}\nDescription: d\nTags: [t]\nLookback: true\nLookbackWindowSeconds: 3\nEmailConfig: {Recipients: [a]}\nBaseVersion: 3\n",
    "AnalysisType: lookup_table\nLookupName: L\nEnabled: true\nFilename: l.csv\nRefresh: {ObjectPath: p}\nSchema: s\nLogTypeMap: {PrimaryKey: k}\nQuery: q\nAthenaQuery: q\nSnowflakeQuery: q\nDatabricksQuery: q\nIndicators: []\nValidations: []\nDescription: d\nReference: r\nBaseVersion: 3\n",
    "AnalysisType: scheduled_prompt\nPromptName: p\nDisplayName: n\nPromptText: t\nRunAsUser: me\nSchedule: {RateMinutes: 5, TimeoutMinutes: 1}\nDescription: d\nOutputLength: small\nEnabled: true\nPrivate: false\n",
];

fn with_every_key() -> Result<Pack, Vec<Problem>> {
    let names: Vec<String> = (0..EVERY_KEY.len()).map(|n| format!("{n}.yml")).collect();
    let mut files: Vec<(&str, &str)> = names.iter().map(String::as_str).zip(EVERY_KEY).collect();
    let saved = "AnalysisType: saved_query\nQueryName: V\nQuery: q\nDescription: d\nTags: [t]\nLookback: true\nLookbackWindowSeconds: 3\nBaseVersion: 3\n";
    let definition = "AnalysisType: pack\nPackID: K\nPackDefinition: {IDs: [R]}\nDescription: d\nDisplayName: n\n";
    files.extend([
        ("saved.yml", saved),
        ("pack.yml", definition),
        ("r.py", BODY),
        ("p.py", "def policy(resource):\n    return True\n"),
        ("g.py", ""),
    ]);
    read(&files)
}

#[test]
fn every_key_of_the_tool_of_the_field_is_accepted() {
    with_every_key().unwrap();
}

#[test]
fn a_key_without_effect_is_listed_with_its_file_and_reason() {
    let pack = with("OnlyUseBaseRiskScore: true\nCreatedBy: ~\n").unwrap();
    let [ignored] = pack.ignored_keys.as_slice() else {
        panic!("{:?}", pack.ignored_keys);
    };
    assert_eq!(ignored.key, "OnlyUseBaseRiskScore");
    assert_eq!(ignored.file, "rules/my_rule.yml");
    assert!(ignored.reason.contains("risk score"), "{ignored:?}");
    // What has no effect changes no version.
    assert_eq!(pack.version, with("").unwrap().version);
    // A typing error stays one.
    assert_eq!(
        problems("OnlyUseBaseRiskScores: true\n"),
        ["OnlyUseBaseRiskScores: unknown key; did you mean OnlyUseBaseRiskScore?"]
    );
    let every = with_every_key().unwrap();
    for key in ["Tests.ExpectedDestinations", "Suppressions", "BaseVersion"] {
        let found = every.ignored_keys.iter().any(|ignored| ignored.key == key);
        assert!(found, "{key}");
    }
}

#[test]
fn the_documentation_lists_the_keys_without_effect() {
    let table = super::schema::ignored_table();
    let page = include_str!("../../../docs/detections.md");
    assert!(
        page.contains(&table),
        "docs/detections.md should hold this table:\n{table}"
    );
}
