// Drives npm's xen-api through a backup's calls: connect, watch, barrier, snapshot, VHD export full
// and delta, import of both, deletion. Facts go to stdout as one line of JSON; whoever started it
// looks at the pool and the files.
import { createReadStream, createWriteStream, statSync } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { createClient } from 'xen-api'

const { url, user, password, directory, vm: vmName } = JSON.parse(process.argv[2])

const xapi = createClient({
  allowUnauthorized: true,
  auth: { user, password },
  url,
})
const facts = { events: [] }
xapi.objects.on('remove', objects => {
  for (const id in objects) facts.events.push(id)
})

await xapi.connect()
await xapi.objectsFetched
const objects = Object.values(xapi.objects.all)
facts.types = [...new Set(objects.map(object => object.$type))].sort()
facts.pool = xapi.pool.uuid

const vm = objects.find(object => object.$type === 'VM' && object.name_label === vmName)
facts.vm = vm.uuid

const diskOf = async ref => {
  for (const vbd of await xapi.getField('VM', ref, 'VBDs')) {
    const record = await xapi.getRecord('VBD', vbd)
    if (record.type === 'Disk') return record.VDI
  }
}
const snapshot = async name => {
  const ref = await xapi.callAsync('VM.snapshot', vm.$ref, name)
  const record = await xapi.barrier(ref)
  facts[name] = { is_a_snapshot: record.is_a_snapshot, snapshot_of: record.snapshot_of === vm.$ref }
  return { vm: ref, vdi: await diskOf(ref) }
}
const download = async (file, query) => {
  const response = await xapi.getResource('/export_raw_vdi/', {
    query: { format: 'vhd', ...query },
    task: await xapi.createTask(`export ${file}`),
  })
  await pipeline(response.body, createWriteStream(`${directory}/${file}`))
  await response.task
}
const upload = async (file, vdi) => {
  const body = createReadStream(`${directory}/${file}`)
  body.length = statSync(`${directory}/${file}`).size
  facts[`upload ${file}`] = await xapi.putResource(body, '/import_raw_vdi/', {
    query: { format: 'vhd', vdi },
    task: await xapi.createTask(`import ${file}`),
  })
}
const guestWrites = async offset => {
  const response = await fetch(
    `${url}/lab/write?vm=${vmName}&disk=0&offset=${offset}&random=100000`,
    {
      method: 'PUT',
      headers: { authorization: 'Basic ' + Buffer.from(`${user}:${password}`).toString('base64') },
    }
  )
  if (!response.ok) throw new Error(await response.text())
}

const first = await snapshot('first')
await download('full.vhd', { vdi: first.vdi })
await guestWrites(5 << 20)
const second = await snapshot('second')
await download('delta.vhd', { vdi: second.vdi, base: first.vdi })
facts.secondDisk = await xapi.getField('VDI', second.vdi, 'uuid')

const source = await xapi.getRecord('VDI', first.vdi)
const copy = await xapi.call('VDI.create', {
  name_label: 'restored',
  name_description: '',
  other_config: { 'restored-by': 'xen-api' },
  read_only: false,
  sharable: false,
  SR: source.SR,
  tags: [],
  type: 'user',
  virtual_size: source.virtual_size,
  xenstore_data: {},
})
await upload('full.vhd', copy)
await upload('delta.vhd', copy)
facts.copy = await xapi.getField('VDI', copy, 'uuid')

// what Xen Orchestra does to its markers: add, and add again after a removal
await xapi.setFieldEntry('VM', vm.$ref, 'other_config', 'marker', 'one')
await xapi.setFieldEntry('VM', vm.$ref, 'other_config', 'marker', 'two')
facts.marker = (await xapi.getField('VM', vm.$ref, 'other_config')).marker
const seen = await xapi.barrier(vm.$ref)
facts.markerSeen = seen.other_config.marker

const errors = {}
for (const [name, work] of Object.entries({
  unknown: () => xapi.call('VM.get_record', 'OpaqueRef:none'),
  count: () => xapi.call('VM.get_record'),
  method: () => xapi.call('VM.fly', vm.$ref),
  asynchronous: () => xapi.callAsync('VM.start', first.vm, false, false),
  blocked: async () => {
    await xapi.setFieldEntry('VM', vm.$ref, 'blocked_operations', 'snapshot', 'by the test')
    try {
      await xapi.callAsync('VM.snapshot', vm.$ref, 'never')
    } finally {
      await xapi.setFieldEntry('VM', vm.$ref, 'blocked_operations', 'snapshot', null)
    }
  },
})) {
  errors[name] = await work().then(
    () => 'no error',
    error => [error.code, ...(error.params ?? [])]
  )
}
facts.errors = errors

const firstUuid = await xapi.getField('VM', first.vm, 'uuid')
await xapi.callAsync('VM.destroy', first.vm)
await xapi.callAsync('VDI.destroy', first.vdi)
await xapi.barrier()
facts.removed = facts.events.includes(firstUuid) || facts.events.includes(first.vm)
facts.events = undefined

await xapi.disconnect()
console.log(JSON.stringify(facts))
