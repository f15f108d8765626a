/** What one check found. Messages say what it means; a remedy says what to do. Neither holds a secret. */
export interface Finding {
  /** Which part of the set-up, such as `database`. */
  check: string;
  /** `warning`: it runs, but not as it should or not for long. `fault`: it does not run, or not safely. */
  state: 'ok' | 'warning' | 'fault';
  message: string;
  /** Absent where nothing is to be done. */
  remedy?: string;
}

/** Findings of one part of the set-up. */
export interface Reporter {
  ok: (message: string) => Finding;
  warning: (message: string, remedy: string) => Finding;
  fault: (message: string, remedy: string) => Finding;
}

export function reporterOf(check: string): Reporter {
  return {
    ok: (message) => ({ check, state: 'ok', message }),
    warning: (message, remedy) => ({ check, state: 'warning', message, remedy }),
    fault: (message, remedy) => ({ check, state: 'fault', message, remedy }),
  };
}
