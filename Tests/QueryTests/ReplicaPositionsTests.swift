import Query
import Testing

@Suite("ReplicaPositions")
struct ReplicaPositionsTests {
    private static let second: Int64 = 1_000_000

    /// One sample a second from 100 s on, 10 bytes of log each; ten seconds of lag are accepted.
    private func known(_ seconds: Int64) -> ReplicaPositions {
        var positions = ReplicaPositions(lagMax: 10 * Self.second)
        for number in 0..<seconds {
            positions.note(
                .init(position: 1_000 + number * 10, time: (100 + number) * Self.second)
            )
        }
        return positions
    }

    @Test("without knowledge of the primary no replica may answer")
    func nothingKnown() {
        let positions = ReplicaPositions(lagMax: Self.second)
        #expect(positions.asOf(.max) == nil)
        #expect(positions.lag(.max) == nil)
    }

    @Test(
        "a replica may answer up to the bound on its lag",
        arguments: [
            (1_590, 159), (9_999, 159), (1_589, 158), (1_490, 149), (1_489, nil), (0, nil),
        ] as [(Int64, Int64?)]
    )
    func bound(replayed: Int64, asOf: Int64?) {
        #expect(known(60).asOf(replayed) == asOf.map { $0 * Self.second })
    }

    @Test("no replica answers older than what an answer has shown")
    func promises() {
        var positions = known(60)
        positions.promise(1_555)
        positions.promise(1_500)
        #expect(positions.asOf(1_554) == nil)
        #expect(positions.asOf(1_555) == 155 * Self.second)
    }

    @Test("an idle primary is not a lagging replica")
    func idle() {
        var positions = known(1)
        for number in 1...100 as ClosedRange<Int64> {
            positions.note(.init(position: 1_000, time: (100 + number) * Self.second))
        }
        #expect(positions.asOf(1_000) == 200 * Self.second)
        #expect(positions.lag(1_000) == 0)
    }

    @Test("what is remembered is bounded by the bound on the lag")
    func memory() {
        #expect(known(10_000).samples.count == 11)
    }

    @Test("after the primary was restored from a backup, its state is what counts")
    func restored() {
        var positions = known(60)
        positions.promise(1_590)
        positions.note(.init(position: 1_200, time: 170 * Self.second))
        #expect(positions.promised == 1_200)
        #expect(positions.asOf(1_199) == nil)
        #expect(positions.asOf(1_200) == 170 * Self.second)
        // A clock that was set back must not make a replica look fresh or stale.
        positions.note(.init(position: 1_210, time: 90 * Self.second))
        #expect(positions.samples.count == 1)
        #expect(positions.asOf(1_210) == 90 * Self.second)
    }
}
