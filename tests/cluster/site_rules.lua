-- Rules of different sites, each for the partition of its name; SLURM's plugin job_submit/lua calls them.

local function gpus_of_the_job(job)
   return (job.tres_per_job or ""):find("gpu") ~= nil
end

local rules = {
   gres = function(job)
      if gpus_of_the_job(job) then return "use --gres=gpu:N, not --gpus" end
   end,
   account = function(job)
      if job.account ~= "lab" then return "an account is required" end
   end,
   constraint = function(job)
      if job.features == nil then return "a constraint is required" end
   end,
}

function slurm_job_submit(job, partitions, user)
   local rule = rules[job.partition]
   local problem = rule and rule(job)
   if problem then
      slurm.log_user("%s", problem)
      return slurm.ERROR
   end
   return slurm.SUCCESS
end

function slurm_job_modify(job, record, partitions, user)
   return slurm.SUCCESS
end
