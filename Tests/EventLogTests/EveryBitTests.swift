import EventLog
import FileIO
import FileIOTesting
import Foundation
import Records
import Testing

/// Every single damage that a small log can suffer. `SLUICE_SOAK=1` (`make soak`) takes a log of
/// 1 MiB instead of 64 KiB; a flip costs a whole read, so that is hours instead of seconds.
@Suite("Every bit and every byte")
struct EveryBitTests {
    /// Bytes of the log, by the suite.
    private static let byteCount =
        ProcessInfo.processInfo.environment["SLUICE_SOAK"] == "1" ? 1 << 20 : 64 << 10
    /// `SLUICE_SOAK_STEP`: only each n-th byte, for less than the hours that all of them take.
    private static let step =
        ProcessInfo.processInfo.environment["SLUICE_SOAK_STEP"].flatMap { Int($0) } ?? 1

    /// What a reader returned, without looking into records: their bytes are under a checksum.
    private enum Piece: Equatable {
        case batch(Range<UInt64>)
        case skip(Range<UInt64>, SkipReason)
        case end(UInt64)
    }

    /// A closed log of several segments.
    private struct Sample {
        let fileSystem: MemoryFileSystem
        let directory: LogDirectory
        let id: LogID
        let pieces: [Piece]
        /// Each segment's file with its bytes.
        let segments: [(path: String, bytes: [UInt8])]

        init() throws {
            let memory = MemoryFileSystem()
            let site = try makeDirectory(memory)
            let perSegment = EveryBitTests.byteCount / 4
            let lane = try site.openLane(0, smallConfiguration(segmentBytes: perSegment))
            let text = String(repeating: "x", count: 300)
            var written = 4096
            while written < EveryBitTests.byteCount - perSegment {
                for number in 0..<12 { try lane.append(text: "\(number) \(text)") }
                try lane.write()
                try lane.commit()
                written = memory.paths.filter { $0.hasSuffix(".log") }
                    .reduce(0) { $0 + (memory.bytes(of: $1)?.count ?? 0) }
            }
            try lane.close()
            fileSystem = memory.killClone()
            id = lane.logID
            directory = try makeDirectory(fileSystem)
            segments = fileSystem.paths.filter { $0.hasSuffix(".log") }.sorted()
                .compactMap { path in memory.bytes(of: path).map { (path, $0) } }
            pieces = try Self.read(directory, id)
        }

        static func read(_ directory: LogDirectory, _ id: LogID) throws -> [Piece] {
            var reader = try directory.reader(id, from: .zero)
            var result: [Piece] = []
            while let item = try reader.next() {
                switch item {
                case .records(let batch):
                    result.append(.batch(batch.baseOffset.rawValue..<batch.nextOffset.rawValue))
                case .skip(let range, let reason):
                    let lower = range.lowerBound.rawValue
                    let upper = range.upperBound.rawValue
                    result.append(.skip(lower..<upper, reason))
                case .end(let offset): result.append(.end(offset.rawValue))
                }
            }
            return result
        }

        /// Whether at most one batch is missing, and is called by its exact offsets.
        func isAtMostOneBatchShort(_ seen: [Piece]) -> Bool {
            if seen == pieces { return true }
            guard seen.count == pieces.count else { return false }
            var differences = 0
            for (left, right) in zip(seen, pieces) where left != right {
                guard case .batch(let range) = right, left == .skip(range, .damaged) else {
                    return false
                }
                differences += 1
            }
            return differences == 1
        }
    }

    @Test("each flipped bit costs at most one batch, and the report names exactly its offsets")
    func flips() async throws {
        let total = try Sample().segments.count
        let step = Self.step
        // One task per segment, each on a copy of its own.
        try await withThrowingTaskGroup(of: Int.self) { group in
            for index in 0..<total {
                group.addTask {
                    let sample = try Sample()
                    let (path, bytes) = sample.segments[index]
                    var damaged = bytes
                    var flips = 0
                    for place in stride(from: index % step, to: bytes.count, by: step) {
                        flips += 8
                        for bit in 0..<8 {
                            damaged[place] ^= 1 << UInt8(bit)
                            sample.fileSystem.setBytes(damaged, of: path)
                            let seen = try Sample.read(sample.directory, sample.id)
                            if !sample.isAtMostOneBatchShort(seen) {
                                Issue.record("bit \(bit) of byte \(place) of \(path): \(seen)")
                                return 0
                            }
                            damaged[place] ^= 1 << UInt8(bit)
                        }
                    }
                    return flips
                }
            }
            var flips = 0
            for try await count in group { flips += count }
            print("flipped \(flips) bits of a log of \(EveryBitTests.byteCount) bytes")
            let left = (step - 1) * 8 * total
            #expect(flips * step + left >= EveryBitTests.byteCount * 8 * 3 / 4)
        }
    }

    @Test("cut off at any byte, everything before is kept and everything after is named")
    func truncations() throws {
        let sample = try Sample()
        let (path, bytes) = try #require(sample.segments.last)
        let whole = sample.pieces
        for count in stride(from: 0, to: bytes.count, by: Self.step) {
            sample.fileSystem.setBytes(Array(bytes.prefix(count)), of: path)
            let seen = try Sample.read(sample.directory, sample.id)
            // A prefix of the batches, then one gap up to the end.
            let kept = zip(seen, whole).prefix { $0 == $1 }.count
            let rest = Array(seen.dropFirst(kept))
            let isNamed =
                rest.isEmpty || rest == [whole[whole.count - 1]] || isOneGap(rest, whole, kept)
            if !isNamed {
                Issue.record("cut at byte \(count): \(rest)")
                return
            }
        }
    }

    /// Whether what is left is a damaged range from the first missing batch to the end.
    private func isOneGap(_ rest: [Piece], _ whole: [Piece], _ kept: Int) -> Bool {
        guard case .batch(let first) = whole[kept], case .end(let end) = whole[whole.count - 1]
        else { return false }
        return rest == [.skip(first.lowerBound..<end, .damaged), .end(end)]
    }
}
