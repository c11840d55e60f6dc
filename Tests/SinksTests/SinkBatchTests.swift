import EventLog
import Records
import Sinks
import Testing

@Suite("What is left of a batch")
struct SinkBatchTests {
    private let log = LogID(high: 1, low: 2)

    @Test("a refused marker is sent again, an accepted one is not")
    func markers() {
        let items: [SinkItem] = [
            .skip(Offset(3)..<Offset(9), .damaged, appendTime: 7), .end(Offset(9), appendTime: 7),
        ]
        let batch = SinkBatch(log: log, items: items)
        #expect(batch.outcome(.accepted, marksRejected: true).remainder == nil)
        var result = DeliveryResult()
        result.add(Offset(9), .rejected(.rejected))
        let outcome = batch.outcome(result, marksRejected: true)
        #expect(outcome.remainder?.firstOffset == Offset(9))
        #expect(outcome.skipped == [.damaged: 6])
        #expect(outcome.hasFailed)
    }
}
