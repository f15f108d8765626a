/** One call per name at a time: whoever asks while it runs gets its outcome, success or failure. */
export function createSingleFlight<Result>(): (
  name: string,
  call: () => Promise<Result>,
) => Promise<Result> {
  const running = new Map<string, Promise<Result>>();
  return (name, call) => {
    const joined = running.get(name);
    if (joined !== undefined) return joined;
    const started = call().finally(() => running.delete(name));
    running.set(name, started);
    return started;
  };
}
