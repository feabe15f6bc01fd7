// The built server with a directory, and what an account does there through its back end.

import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { Server } from '../../appview/lib/server.js'

const KEY = `aqk_${randomBytes(32).toString('base64url')}`

/** A server with a directory, whose accounts are Matrix ids; `env` says what else. */
export function startDirectory(env) {
  const digest = createHash('sha256').update(KEY).digest('hex')
  return Server.start({
    env: {
      ACQUAINT_ACCOUNT_FORMAT: 'opaque',
      ACQUAINT_DIRECTORY__PROVIDER: 'contacts.example',
      ACQUAINT_SESSIONS__API_KEYS: `tests:${digest}`,
      ACQUAINT_VERIFICATION__EMAILS: 'true',
      ...env,
    },
  })
}

/** A call of the back end's for an account; gives the answer's JSON. */
export async function asAccount(server, account, method, path, body) {
  const answer = await fetch(server.url + path, {
    method,
    headers: {
      authorization: `Bearer ${KEY}`,
      'acquaint-account': account,
      ...(body && { 'content-type': 'application/json' }),
    },
    body: body && JSON.stringify(body),
  })
  const told = await answer.text()
  assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${told}`)
  return JSON.parse(told)
}

/** Verifies an identifier for the directory and lists the account under it. */
export async function enrol(server, account, identifier) {
  const ask = (path, body) => asAccount(server, account, 'POST', `/v1/directory/${path}`, body)
  await ask('verifications', { identifier })
  const { token } = await ask('verifications/confirm', { identifier, code: server.code(identifier) })
  return ask('listings', { token })
}
