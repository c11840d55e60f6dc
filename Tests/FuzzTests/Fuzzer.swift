import Foundation

/// Feeds a parser with a kept corpus and with seeded changes of it.
///
/// A trap ends the test's process; with `SLUICE_FUZZ` the input is left in a file by then. An input
/// that takes too long, or memory that grows without end, is an error that says how to repeat it.
/// What was found once is kept as a file in `Tests/Corpora`.
///
/// - `SLUICE_FUZZ`: seconds for each parser instead of the few rounds of an ordinary run
/// - `SLUICE_FUZZ_SEED`: the seed of a run that is to be repeated
struct Fuzzer {
    /// Something that no input may cause.
    struct Finding: Error, CustomStringConvertible {
        /// What happened, and to which input.
        package let description: String
    }

    /// The corpus: a folder of `Tests/Corpora`.
    let name: String
    /// The inputs that are kept, by file name.
    let corpus: [(name: String, bytes: [UInt8])]

    private let pieces: [[UInt8]]
    private let seed: UInt64
    private let seconds: Double?

    /// How long one input may take, in seconds; chosen: a thousand times what they take, because
    /// tests share their processors.
    private static let secondsMax = 5.0
    /// How much the process may grow over a long run.
    private static let growthMax = 512 << 20

    /// Loads the corpus.
    init(_ name: String, pieces: [String] = [], file: String = #filePath) throws {
        self.name = name
        self.pieces = pieces.map { Array($0.utf8) }
        let folder = URL(fileURLWithPath: file).deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("Corpora/\(name)")
        corpus = try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted().map {
            ($0, Array(try Data(contentsOf: folder.appendingPathComponent($0))))
        }
        let environment = ProcessInfo.processInfo.environment
        seconds = environment["SLUICE_FUZZ"].flatMap(Double.init)
        let wanted = environment["SLUICE_FUZZ_SEED"].flatMap(UInt64.init)
        seed = wanted ?? UInt64.random(in: 0...UInt64.max)
    }

    /// Whether the run was asked to take its time.
    var isLong: Bool { seconds != nil }

    /// Random choices for a test that goes through its inputs by itself.
    var choices: Mutator {
        print("fuzzing \(name): SLUICE_FUZZ_SEED=\(seed)")
        return Mutator(seed: seed, pieces: pieces)
    }

    /// Runs the corpus as it is, then changes of it.
    ///
    /// - Parameters:
    ///   - rounds: How many changes in an ordinary run.
    ///   - countMax: The longest input.
    ///   - extra: Inputs beside those that are kept as files.
    ///   - suspends: Whether the body waits for others, and so for other tests: then only the
    ///     test's own limit of time says that something hangs.
    ///   - body: What is done with an input; it may draw further random choices.
    func run(
        rounds: Int = 2_000,
        countMax: Int = 1 << 16,
        extra: [[UInt8]] = [],
        suspends: Bool = false,
        _ body: ([UInt8], inout Mutator) async throws -> Void
    ) async throws {
        print("fuzzing \(name): SLUICE_FUZZ_SEED=\(seed)")
        let inputs = corpus.map(\.bytes) + extra
        for bytes in inputs {
            var choices = Mutator(seed: seed)
            try await body(bytes, &choices)
        }
        let start = DispatchTime.now().uptimeNanoseconds
        let grown = Self.residentBytes
        var round = 0
        while true {
            if let seconds {
                let passed = DispatchTime.now().uptimeNanoseconds - start
                if Double(passed) > seconds * 1e9 { break }
            } else if round >= rounds {
                break
            }
            var mutator = Mutator(seed: seed &+ UInt64(round), pieces: pieces)
            let bytes = mutator.input(from: inputs, countMax: countMax)
            try keep(bytes)
            let before = DispatchTime.now().uptimeNanoseconds
            do {
                try await body(bytes, &mutator)
            } catch {
                throw Finding(description: "\(place(round, bytes)): \(error)")
            }
            let taken = Double(DispatchTime.now().uptimeNanoseconds - before) / 1e9
            if taken > Self.secondsMax, !suspends {
                throw Finding(description: "\(place(round, bytes)): took \(taken) s")
            }
            round += 1
        }
        // Other tests run beside this one, so only a run that was asked for says something.
        if seconds != nil, Self.residentBytes - grown > Self.growthMax {
            throw Finding(description: "\(name): grew by \(Self.residentBytes - grown) bytes")
        }
        print("fuzzing \(name): \(inputs.count) kept inputs and \(round) changed ones")
    }

    private func place(_ round: Int, _ bytes: [UInt8]) -> String {
        let shown = bytes.prefix(2_000).map {
            String($0 >> 4, radix: 16) + String($0 & 15, radix: 16)
        }
        return "\(name), seed \(seed), round \(round), \(bytes.count) bytes: \(shown.joined())"
    }

    /// Leaves the input behind for the case that the process does not survive it.
    private func keep(_ bytes: [UInt8]) throws {
        guard seconds != nil else { return }
        let path = FileManager.default.temporaryDirectory
            .appendingPathComponent("sluice-fuzz-\(name).last")
        try Data(bytes).write(to: path)
    }

    /// What the process holds in memory.
    private static var residentBytes: Int {
        let text = (try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8)) ?? ""
        let fields = text.split(separator: " ")
        return fields.count > 1 ? (Int(fields[1]) ?? 0) * 4_096 : 0
    }
}
