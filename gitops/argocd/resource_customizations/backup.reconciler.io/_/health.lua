-- How an object of this group stands, for every kind: conditions follow kstatus.
local health = { status = "Progressing", message = "The operator has not looked at it yet" }

local function condition(kind)
  for _, one in ipairs(obj.status.conditions or {}) do
    if one.type == kind then
      return one
    end
  end
  return { status = "", message = "" }
end

local function answer(status, message)
  health.status = status
  health.message = message
  return health
end

if obj.metadata.deletionTimestamp ~= nil then
  return answer("Progressing", "It is being deleted")
end
if obj.status == nil or obj.status.observedGeneration == nil then
  return health
end
if obj.status.observedGeneration ~= obj.metadata.generation then
  return answer("Progressing", "The operator has not looked at the newest version yet")
end

-- What is done once: a restore, a run.
if condition("Failed").status == "True" then
  return answer("Degraded", condition("Failed").message)
end
if condition("Complete").status == "True" then
  return answer("Healthy", condition("Complete").message)
end

-- A person must act. Before "suspended": a mistake shows whatever else is said.
if condition("Stalled").status == "True" then
  return answer("Degraded", condition("Stalled").message)
end
if obj.spec ~= nil and obj.spec.suspend == true then
  return answer("Suspended", "spec.suspend: nothing is started")
end
if condition("Reconciling").status == "True" then
  return answer("Progressing", condition("Reconciling").message)
end

local ready = condition("Ready")
if ready.status == "True" then
  -- A late backup is told by RPOMet, and by alerts: it does not make a sync fail.
  return answer("Healthy", ready.message)
end
if ready.status == "False" then
  return answer("Degraded", ready.message)
end
return answer("Progressing", ready.message ~= "" and ready.message or "It has no condition yet")
