import Aggregator
import EventLog
import Records
import Rollups
import Testing

@Suite("Offset ranges")
struct OffsetRangesTests {
    /// Random ranges below a small bound, as ranges and as a plain set.
    private static func random(
        _ random: inout SplitMix,
        count: Int
    ) -> (ranges: OffsetRanges, set: Set<UInt64>) {
        var ranges = OffsetRanges()
        var set: Set<UInt64> = []
        for _ in 0..<count {
            let start = UInt64(random.below(60))
            let range = start..<(start + UInt64(random.below(9)))
            ranges.insert(range)
            set.formUnion(range)
        }
        return (ranges, set)
    }

    /// The ranges of a plain set.
    private static func ranges(_ set: Set<UInt64>) -> [Range<UInt64>] {
        var result: [Range<UInt64>] = []
        for offset in set.sorted() {
            if let last = result.last, last.upperBound == offset {
                result[result.count - 1] = last.lowerBound..<(offset + 1)
            } else {
                result.append(offset..<(offset + 1))
            }
        }
        return result
    }

    @Test("every operation agrees with plain sets", arguments: [1, 2, 3])
    func model(seed: UInt64) {
        var random = SplitMix(seed: seed)
        for _ in 0..<2_000 {
            let (left, leftSet) = Self.random(&random, count: random.below(8))
            let (right, rightSet) = Self.random(&random, count: random.below(8))
            #expect(left.ranges == Self.ranges(leftSet))
            #expect(left.offsetCount == UInt64(leftSet.count))
            #expect(left.isEmpty == leftSet.isEmpty)
            #expect(left.firstHole == (0...99).first { !leftSet.contains($0) })
            var union = left
            union.formUnion(right)
            #expect(union.ranges == Self.ranges(leftSet.union(rightSet)))
            let difference = left.subtracting(right)
            #expect(difference.ranges == Self.ranges(leftSet.subtracting(rightSet)))
            let intersection = left.intersection(right)
            #expect(intersection.ranges == Self.ranges(leftSet.intersection(rightSet)))
            #expect(left.overlaps(right) == !leftSet.isDisjoint(with: rightSet))
            #expect(left.isSuperset(of: right) == leftSet.isSuperset(of: rightSet))
            let start = UInt64(random.below(70))
            let range = start..<(start + UInt64(random.below(5)))
            #expect(left.contains(start) == leftSet.contains(start))
            #expect(left.containsAll(range) == range.allSatisfy { leftSet.contains($0) })
            #expect(left.overlaps(range) == range.contains { leftSet.contains($0) })
            let parts = OffsetRanges.parts(of: range, without: left)
            #expect(parts == Self.ranges(Set(range).subtracting(leftSet)))
            var joined = left
            joined.insert(range)
            #expect(left.touches(range) == (joined.ranges.count <= left.ranges.count))
        }
    }

    @Test("the literal is PostgreSQL's")
    func literal() {
        var ranges = OffsetRanges(2..<4)
        ranges.insert(7..<8)
        #expect(ranges.literal == "{[2,4),[7,8)}")
        #expect(OffsetRanges().literal == "{}")
        #expect(OffsetRanges(3..<3).isEmpty)
    }

    @Test("folding a batch again counts an offset once, although two of its items have it")
    func shared() throws {
        var random = SplitMix(seed: 4)
        let log = LogID(random: &random)
        func item(_ offsets: Range<UInt64>) -> RetainedBatch.Item {
            var bytes: [UInt8] = []
            for offset in offsets {
                let record = KafkaTrustTests.bytes(log, offset)
                let length = UInt32(record.count)
                for shift: UInt32 in [0, 8, 16, 24] { bytes.append(UInt8(length >> shift & 0xFF)) }
                bytes += record
            }
            let batch = LogBatch(
                logID: log,
                baseOffset: Offset(offsets.lowerBound),
                count: offsets.count,
                appendTime: 1,
                records: bytes
            )
            return .records(batch)
        }
        var batch = RetainedBatch()
        batch.append(item(0..<10), of: log, wanted: [0..<4, 6..<10])
        batch.append(item(3..<12), of: log, wanted: [4..<6, 10..<12])
        var output = FoldOutput(RollupDefinition.builtIn)
        output.fold(batch, latest: .max)
        #expect(output.foldedCount == 12)
        batch.dropDuplicates([log: OffsetRanges(5..<8)])
        output.removeAll()
        output.fold(batch, latest: .max)
        #expect(output.foldedCount == 9)
        #expect(batch.wanted.map(\.offsets.literal) == ["{[0,5),[8,12)}"])
    }

    @Test("a log's end stays in a batch of which somebody else has folded all offsets")
    func end() {
        var random = SplitMix(seed: 5)
        let log = LogID(random: &random)
        let other = LogID(random: &random)
        var batch = RetainedBatch()
        for id in [log, other] {
            let skip = RetainedBatch.Item.skip(0..<4, .damaged, appendTime: 1)
            batch.append(skip, of: id, wanted: [0..<4])
        }
        batch.append(.end(4, seenAt: 1), of: log, wanted: [])
        let folded = OffsetRanges(0..<4)
        #expect(batch.dropDuplicates([log: folded, other: folded]) == 8)
        #expect(batch.logs == [log] && batch.ended == [log] && batch.wanted.isEmpty)
    }
}
