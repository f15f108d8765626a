/** Causes below this are dropped: a chain may be a ring. */
const causesMax = 5;

interface DescribedError {
  type: string;
  message: string;
  code?: string | number;
  stack?: string;
  cause?: DescribedError | string;
}

/**
 * What a log says of an error: type, message, code, stack and causes, and nothing else, since
 * libraries hang requests, answers and rows of the database on their errors.
 */
export function describeError(error: unknown, depth = 0): DescribedError | string {
  if (!(error instanceof Error)) return `thrown: ${typeof error}`;
  const described: DescribedError = { type: error.name, message: error.message };
  if ('code' in error && (typeof error.code === 'string' || typeof error.code === 'number')) {
    described.code = error.code;
  }
  if (error.stack !== undefined) described.stack = error.stack;
  if (error.cause !== undefined && depth < causesMax) {
    described.cause = describeError(error.cause, depth + 1);
  }
  return described;
}
