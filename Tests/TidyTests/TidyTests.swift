import Foundation
import Testing

/// The style rules that a machine can check; each message names what to write instead.
@Suite("Tidy")
struct TidyTests {
    let repository = Repository()

    /// Modules that may spell `unsafe`: the seams to C and to the operating system.
    static let unsafeModules: Set<String> = [
        "FileIO", "Threads", "Postgres", "Kafka", "KafkaTesting",
    ]

    /// Modules on the path of every record, which must not touch Foundation.
    static let hotModules: Set<String> = [
        "Records", "Rollups", "FileIO", "Threads", "EventLog", "Gateway", "Telemetry", "Postgres",
        "Aggregator", "Sinks", "Pump", "Kafka",
    ]

    /// What each module may import of ours: the arrows of `ARCHITECTURE.md`.
    static let arrows: [String: Set<String>] = [
        "Telemetry": [],
        "Records": [],
        "Rollups": ["Records"],
        "Threads": ["CSluice"],
        "FileIO": ["CSluice", "CZlib"],
        "FileIOTesting": ["FileIO"],
        "EventLog": ["CSluice", "Records", "FileIO", "Threads"],
        "Gateway": ["Records", "EventLog", "FileIO", "Telemetry"],
        "Importing": ["Records", "EventLog", "FileIO"],
        "LoadGeneration": ["Records", "EventLog", "FileIO"],
        "Postgres": ["CLibpq", "Threads"],
        "Kafka": ["CLibrdkafka", "Threads"],
        "KafkaTesting": ["CLibrdkafka", "Kafka"],
        "EmbeddedPostgres": ["Postgres", "FileIO", "Threads"],
        "PostgresTesting": ["Postgres", "EmbeddedPostgres", "Threads"],
        "Aggregator": [
            "Records", "Rollups", "EventLog", "FileIO", "Postgres", "Threads", "Telemetry", "Kafka",
        ],
        "Query": ["Records", "Rollups", "Postgres", "Telemetry", "Threads"],
        "Sinks": ["Records", "EventLog", "FileIO", "Kafka", "Threads", "Telemetry"],
        "Pump": ["Records", "EventLog", "FileIO", "Sinks", "Threads", "Telemetry"],
        "SluiceConfiguration": ["Rollups"],
        "Console": [],
    ]

    /// Text that may not stand in `Sources`, and what to write instead.
    static let banned: [(text: String, instead: String, allowedIn: Set<String>)] = [
        ("try!", "handle the error or precondition", []),
        (" as!", "use as? and handle nil", []),
        ("fatalError(", "precondition for programmer errors, a typed error otherwise", []),
        ("nonisolated(unsafe)", "Mutex or Atomic", []),
        ("Task.detached", "a task group or a Service", []),
        (" Task {", "a task group or a Service", []),
        ("Thread.sleep", "wait for the event itself", []),
        ("usleep(", "wait for the event itself", []),
        ("FIXME", "an issue", []),
        ("TODO", "an issue", []),
    ]

    /// An import, whatever its attributes, access level and kind.
    static var importLine: Regex<(Substring, Substring)> {
        #/
        ^(?:@[a-zA-Z_]+\ )* (?:(?:package|public|private|internal)\ )?
        import\ (?:(?:struct|func|class|enum)\ )? ([A-Za-z0-9_]+)
        /#
    }

    @Test("no source file is longer than 600 lines or wider than 100 columns")
    func sizes() throws {
        for file in try repository.files(["swift"])
        where !file.path.hasPrefix("Tests/RecordsTests/Generated")
            && !file.path.contains("generated.swift") && !file.path.contains(".pb.swift")
        {
            #expect(file.lines.count <= 600, "\(file.path): split by aspect")
            for (number, line) in file.lines.enumerated() where line.count > 100 {
                Issue.record("\(file.path):\(number + 1): \(line.count) columns; wrap at 100")
            }
        }
    }

    @Test("banned constructs do not stand in Sources")
    func bannedText() throws {
        for file in try repository.files(["swift"]) {
            guard let module = file.module else { continue }
            for (number, line) in file.lines.enumerated() {
                let code = line.drop { $0 == " " }
                if code.hasPrefix("//") || code.hasPrefix("\"") { continue }
                for rule in Self.banned
                where line.contains(rule.text) && !rule.allowedIn.contains(module) {
                    Issue.record("\(file.path):\(number + 1): \(rule.text): \(rule.instead)")
                }
                if module != "Sluice", code.hasPrefix("print(") {
                    Issue.record("\(file.path):\(number + 1): print: return a value or log")
                }
            }
        }
    }

    @Test("unsafe code stands only in the seams, and each unchecked Sendable says why")
    func unsafeSurface() throws {
        let unsafeWord = /(^|[\s(=])unsafe\s+[A-Za-z_(&]/
        for file in try repository.files(["swift"]) {
            guard let module = file.module else { continue }
            for (number, line) in file.lines.enumerated() {
                let code = line.drop { $0 == " " }
                if code.hasPrefix("//") { continue }
                let allowed =
                    Self.unsafeModules.contains(module)
                    || file.path == "Sources/EventLog/Checksum.swift"
                if !allowed, line.firstMatch(of: unsafeWord) != nil {
                    Issue.record("\(file.path):\(number + 1): unsafe outside the seams")
                }
                if line.contains("@unchecked Sendable") {
                    #expect(Self.unsafeModules.contains(module), "\(file.path):\(number + 1)")
                    let before = file.lines[max(0, number - 12)..<number]
                    #expect(
                        before.contains { $0.contains("Safety:") },
                        "\(file.path):\(number + 1): say why, after `// Safety:`"
                    )
                }
            }
        }
    }

    @Test("modules import only what is below them")
    func importArrows() throws {
        let ours = Set(Self.arrows.keys).union([
            "Sluice", "CSluice", "CLibpq", "CLibrdkafka", "CZlib",
        ])
        for file in try repository.files(["swift"]) {
            guard let module = file.module, module != "Sluice" else { continue }
            let allowed = try #require(
                Self.arrows[module],
                "\(module) has no row in the table of arrows"
            )
            for (number, line) in file.lines.enumerated() {
                guard let match = line.firstMatch(of: Self.importLine) else { continue }
                let imported = String(match.1)
                if ours.contains(imported), !allowed.contains(imported) {
                    Issue.record("\(file.path):\(number + 1): \(module) must not see \(imported)")
                }
                if Self.hotModules.contains(module), imported.hasPrefix("Foundation") {
                    Issue.record("\(file.path):\(number + 1): no Foundation on the hot path")
                }
            }
        }
    }

    @Test("documents have one title and their links resolve")
    func documents() throws {
        for file in try repository.files(["md"]) {
            var inCode = false
            var titles = 0
            for (number, line) in file.lines.enumerated() {
                if line.hasPrefix("```") { inCode.toggle() }
                if inCode { continue }
                if line.hasPrefix("# ") { titles += 1 }
                for match in line.matches(of: /\]\(([^)#\s]+)(?:#[^)]*)?\)/) {
                    let target = String(match.1)
                    if target.contains("://") || target.hasPrefix("mailto:") { continue }
                    let folder = repository.root.appendingPathComponent(file.path)
                        .deletingLastPathComponent()
                    let path = folder.appendingPathComponent(target).standardized.path
                    if !FileManager.default.fileExists(atPath: path) {
                        Issue.record("\(file.path):\(number + 1): no such file: \(target)")
                    }
                }
            }
            #expect(titles == 1, "\(file.path): exactly one title")
        }
    }

    @Test("files are small, and only scripts are executable")
    func files() throws {
        for path in try repository.paths() {
            let full = repository.root.appendingPathComponent(path).path
            let attributes = try FileManager.default.attributesOfItem(atPath: full)
            let size = (attributes[.size] as? Int) ?? 0
            #expect(size <= 200_000, "\(path): \(size) bytes; generate it or make it smaller")
            let mode = (attributes[.posixPermissions] as? Int) ?? 0
            let isScript = path.hasSuffix(".sh") || path.hasSuffix(".py")
            let mayRun =
                path.hasPrefix("scripts/") || path == ".ci/run" || path.hasPrefix("examples/")
                || path.hasPrefix("Benchmarks/") && isScript
            if mode & 0o111 != 0, !mayRun {
                Issue.record("\(path): executable outside scripts/")
            }
        }
    }
}
