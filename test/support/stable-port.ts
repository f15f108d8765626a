const firstPort = 20_000;
const portCount = 10_000;
const triesMax = 20;

/**
 * Listens at a port that a test may leave and take again. It is outside the range from which systems choose ports
 * for connections: one of those would go to somebody else meanwhile, and a client that keeps knocking at it
 * could even meet itself. Throws what the last try threw.
 */
export async function listenAtStablePort(
  listen: (port: number) => Promise<unknown>,
): Promise<number> {
  for (let tries = 1; ; tries += 1) {
    const port = firstPort + Math.floor(Math.random() * portCount);
    try {
      await listen(port);
      return port;
    } catch (error) {
      if (tries === triesMax) throw error;
    }
  }
}
