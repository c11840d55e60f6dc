// Runs before the first paint, so that the page shows neither the other theme nor a sign-in that is
// not needed.
(() => {
  const root = document.documentElement;
  try {
    const theme = localStorage.getItem("sluice.theme");
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    if (sessionStorage.getItem("sluice.token")) root.dataset.session = "open";
  } catch {
    // Without storage the system's theme it is.
  }
})();
