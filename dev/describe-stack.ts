/** `.token-manager/stack.json`: where everything of a running `npm start` is. */
export interface StackFile {
  gateway: string;
  metrics: string | null;
  /** Base of `/profile` and `/heap`. */
  pprof: string | null;
  temporal_ui: string;
  temporal_address: string;
  namespace: string;
  /** For Workflows of other namespaces; null: none. */
  nexus_endpoint: string | null;
  database_url: string;
  local_key_file: string;
  egress_allow: string;
  provider: string;
  provider_stats: string;
}

/** What further gateways and workers need to join; `freePort` is for a gateway. */
export function joiningEnvironment(stack: StackFile, freePort: number): string {
  const variables = {
    DATABASE_URL: stack.database_url,
    TEMPORAL_ADDRESS: stack.temporal_address,
    TEMPORAL_NAMESPACE: stack.namespace,
    LOCAL_KEY_FILE: stack.local_key_file,
    EGRESS_ALLOW: stack.egress_allow,
    METRICS_PORT: '0',
    PPROF_PORT: '0',
    PORT: String(freePort),
  };
  return Object.entries(variables)
    .map(([name, value]) => `${name}=${quoted(value)}`)
    .join(' ');
}

/** What curl has to be told under these settings of the gateway, with a space before each; often nothing. */
export function curlOptions(env: NodeJS.ProcessEnv): string {
  const key = env['CALLERS_FILE'] === undefined ? '' : " -H 'Authorization: Bearer <a key>'";
  if (env['TLS_MODE'] === 'enabled') {
    return ` --cacert ${quoted(env['TLS_CERT_FILE'] ?? '')}${key}`;
  }
  if (env['TLS_MODE'] === 'mtls') {
    return ` --cacert ${quoted(env['MTLS_CERT_FILE'] ?? '')} --cert <yours.pem> --key <yours.key>`;
  }
  return key;
}

export function describeStack(
  stack: StackFile,
  texts: { joiningEnvironment: string; curlOptions: string; stackFile: string },
): string {
  const { joiningEnvironment: environment, stackFile } = texts;
  const curl = `curl -s${texts.curlOptions}`;
  return `
Ready.

  gateway      ${stack.gateway}
  metrics      ${stack.metrics ?? 'off'}
  profiles     ${stack.pprof ?? 'off'}
  Temporal UI  ${stack.temporal_ui}
  Workflows    namespace ${stack.namespace} at ${stack.temporal_address}, Nexus endpoint ${stack.nexus_endpoint ?? 'off'}
  provider     ${stack.provider} (what really happened: ${stack.provider_stats})
  all of it    ${stackFile}

The token of the demo connection, and a new one:

  ${curl} ${stack.gateway}/v1/connections/demo/token
  ${curl} -X POST -H 'Content-Type: application/json' -d '{"force":true}' ${stack.gateway}/v1/connections/demo/token/refresh

More processes join with

  ${environment} npm run gateway
  ${environment} npm run worker

Ctrl-C stops everything; the data stays until npm run reset.
`;
}

/** For a POSIX shell, only where it is needed. */
function quoted(value: string): string {
  return /^[A-Za-z0-9_./:@=,+-]*$/.test(value) ? value : `'${value.replaceAll("'", `'\\''`)}'`;
}
