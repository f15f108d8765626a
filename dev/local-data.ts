import { join } from 'node:path';

/** Where npm start keeps everything: below `.token-manager` of the checkout, absolute paths. */
export interface LocalData {
  directory: string;
  /** Downloads, worth keeping; `npm run reset` leaves it alone. */
  cache: string;
  postgres: string;
  temporalLog: string;
  /** A temporal.toml that says nothing, in place of the user's, which is for other clusters. */
  temporalToml: string;
  localKeyFile: string;
  grants: string;
  clientSecret: string;
  /** Which process runs the stack. */
  lock: string;
  /** Where everything is, while the stack is ready (mode 0600). */
  stack: string;
}

export function localDataIn(root: string): LocalData {
  const directory = join(root, '.token-manager');
  return {
    directory,
    cache: join(directory, 'cache'),
    postgres: join(directory, 'postgres'),
    temporalLog: join(directory, 'temporal.log'),
    temporalToml: join(directory, 'temporal.toml'),
    localKeyFile: join(directory, 'local-key'),
    grants: join(directory, 'demo-grants.jsonl'),
    clientSecret: join(directory, 'demo-client-secret'),
    lock: join(directory, 'stack.pid'),
    stack: join(directory, 'stack.json'),
  };
}
