import LoadGeneration
import Testing

@Suite("SplitMix")
struct SplitMixTests {
    @Test("gives the published sequence for seed 1234567")
    func published() {
        var random = SplitMix(seed: 1_234_567)
        #expect(random.next() == 6_457_827_717_110_365_317)
        #expect(random.next() == 3_203_168_211_198_807_973)
    }
}
