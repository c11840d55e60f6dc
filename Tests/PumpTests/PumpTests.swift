import Pump
import Testing

@Suite("Circuit breaker")
struct BreakerTests {
    @Test("its states have the names that status shows")
    func names() {
        #expect(Breaker.allCases.map(\.rawValue) == ["closed", "open", "half_open"])
    }
}
