import SluiceConfiguration
import Testing

@Suite("Secret")
struct SecretTests {
    @Test("never shows its clear text in any form of output")
    func masked() {
        let secret = Secret("hunter2")
        var settings = Settings()
        settings.postgres = .uri(secret)
        var dumped = ""
        dump(settings, to: &dumped)
        for text in ["\(secret)", String(reflecting: secret), "\(settings)", dumped] {
            #expect(!text.contains("hunter2"))
        }
        #expect(secret.reveal() == "hunter2")
    }
}
